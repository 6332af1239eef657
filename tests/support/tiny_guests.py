# SPDX-License-Identifier: GPL-2.0-only
"""Images whose guests do one wrong thing, as soon as their kernel runs.

They are a real image's kernel and initial RAM disk, with another ``/init``: the kernel unpacks
archives that follow each other, and later files win (Linux: "Ramfs, rootfs and initramfs").
"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from latent_libvirt.images.description import Description, Parts, digest_of
from latent_libvirt.images.local import FILES, LocalImage, measure

_BEGINNING = """#!/bin/busybox sh
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
exec </dev/console >/dev/console 2>&1
case $(cat /proc/cmdline) in *latent_libvirt.probe*) poweroff -f ;; esac
for module in $(cat /modules/order); do insmod "/modules/$module.ko"; done
until [ -e /dev/vport*p1 ]; do usleep 10000; done
port=$(echo /dev/vport*p1)
say() { echo "{\\"type\\": \\"$1\\", \\"protocol\\": 1, \\"reason\\": \\"$2\\"}" >&3; }
hear() { read -r line <&3; }
exec 3<>$port
"""

SILENT = "echo 'I shall say nothing'; while :; do /bin/busybox sleep 60; done"
DYING = "echo 'I cannot go on'; poweroff -f"
PANICKING = "echo c >/proc/sysrq-trigger"
WAITING = "say waiting; while :; do hear; done"
DYING_WITH_ITS_IDENTITY = "say waiting; hear; hear; echo 'Not me'; poweroff -f"
REFUSING = (
    "say waiting; hear; hear; say failed 'cannot connect to the master at nowhere'; "
    "while :; do hear; done"
)
NEVER_ATTACHING = "say waiting; hear; hear; say starting; while :; do hear; done"
HANGING_UP = f"say waiting; hear; exec 3>&-; {SILENT}"
FLOODING_ITS_CONSOLE = "/bin/busybox yes 'I shall say everything'"
FLOODING = "while :; do /bin/busybox yes >&3; done"
TALKING_NONSENSE = "echo 'once upon a time' >&3; while :; do hear; done"


def make(directory: Path, base: LocalImage, name: str, script: str) -> LocalImage:
    """Make an image called *name*, in a new *directory*, whose guest runs *script*."""
    directory.mkdir()
    initrd = base.path("initrd").read_bytes()
    padding = b"\0" * (-len(initrd) % 512)
    init = (_BEGINNING + script + "\n").encode()
    (directory / FILES["initrd"]).write_bytes(initrd + padding + _archive("init", init))
    (directory / FILES["kernel"]).symlink_to(base.path("kernel").absolute())
    disk = directory / FILES["disk"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1M"], check=True)
    description = _describe(directory, base, name)
    (directory / "image.json").write_text(description.to_json())
    return LocalImage(directory, description)


_WAYS_TO_FAIL = ("no_timer_check", "panic=")
"""What kernels of small guests take from those of the image, so that they fail as these do."""


def _describe(directory: Path, base: LocalImage, name: str) -> Description:
    parts = Parts(**{part: measure(directory / file) for part, file in FILES.items()})
    ways = [it for it in base.description.command_line.split() if it.startswith(_WAYS_TO_FAIL)]
    command_line = " ".join(["console=ttyS0 quiet", *ways])
    return base.description.model_copy(
        update={
            "name": name,
            "digest": digest_of(parts, command_line),
            "created": datetime.now(UTC),
            "virtual_size": 1024**2,
            "command_line": command_line,
            "parts": parts,
        }
    )


def _archive(name: str, content: bytes) -> bytes:
    """Return an archive of one executable file, in the kernel's "newc" format."""
    return _member(name, content, mode=0o100755) + _member("TRAILER!!!", b"", mode=0)


def _member(name: str, content: bytes, *, mode: int) -> bytes:
    #         ino mode uid gid nlink mtime size          devices     name size       check
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + "".join(f"{field:08x}" for field in fields).encode()
    return _padded(header + name.encode() + b"\0") + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
