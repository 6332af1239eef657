# SPDX-License-Identifier: GPL-2.0-only
"""A VM without libvirt, for tests of images: QEMU, its console and the handshake's channel."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import children
from latent_libvirt.host.names import CHANNEL_NAME
from latent_libvirt.images.local import LocalImage
from latent_libvirt.images.programs import program

DEADLINE = 300.0
"""Seconds that a guest may take for anything; it is emulated, and machines may be slow."""


class Guest:
    """A running VM."""

    def __init__(self, qemu: subprocess.Popen[str], channel: socket.socket, monitor: Path) -> None:
        self._qemu = qemu
        self._channel = channel.makefile("rw")
        self._monitor = monitor
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read_console)
        self._reader.start()

    def _read_console(self) -> None:
        assert self._qemu.stdout is not None
        with self._qemu.stdout as console:
            self._lines.extend(console)

    def say(self, message: dict[str, Any]) -> None:
        """Write a message to the launcher."""
        self._channel.write(json.dumps(message) + "\n")
        self._channel.flush()

    def hear(self) -> dict[str, Any]:
        """Return the launcher's next message."""
        line = self._channel.readline()
        assert line, f"the guest ended its channel:\n{self.console()}"
        message: dict[str, Any] = json.loads(line)
        return message

    def press_power_button(self) -> None:
        """Do what libvirt's shutdown does."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(os.fspath(self._monitor))
            lines = monitor.makefile("rw")
            for command in ("qmp_capabilities", "system_powerdown"):
                lines.readline()
                lines.write(json.dumps({"execute": command}) + "\n")
                lines.flush()
            lines.readline()

    def wait(self) -> int:
        """Wait until the VM is off; return QEMU's exit status."""
        status = self._qemu.wait(DEADLINE)
        self._reader.join()
        return status

    def console(self) -> str:
        """Return what the serial console has said so far."""
        return "".join(self._lines)

    def kill(self) -> None:
        """Pull the plug."""
        self._qemu.kill()
        self._qemu.wait()
        self._reader.join()
        self._channel.close()


@contextmanager
def booted(
    image: LocalImage,
    directory: Path,
    *,
    bios: bool = False,
    append: str = "",
    disk_size: str | None = None,
) -> Iterator[Guest]:
    """Boot a VM from an image, on an overlay of its own, for the length of a ``with`` block.

    :param bios: boot the disk, rather than the kernel directly.
    :param append: what to add to the kernel's command line.
    :param disk_size: of the overlay, if not the image's; as qemu-img takes it.
    """
    overlay = directory / "overlay.qcow2"
    subprocess.run(
        [
            *(program("qemu-img", package="qemu-utils"), "create", "-q", "-f", "qcow2"),
            *("-F", "qcow2", "-b", str(image.path("disk").absolute()), str(overlay)),
            *([disk_size] if disk_size else []),
        ],
        check=True,
    )
    ours, its = socket.socketpair()
    with ours, its, contextlib.ExitStack() as stack:
        ours.settimeout(DEADLINE)
        monitor = directory / "qmp"
        qemu = subprocess.Popen(
            [
                *children.WITH_US,
                *_machine(overlay, monitor, its.fileno()),
                *([] if bios else _kernel(image, append)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=[its.fileno()],
        )
        guest = Guest(qemu, ours, monitor)
        stack.callback(guest.kill)
        its.close()
        yield guest


def _machine(overlay: Path, monitor: Path, channel: int) -> list[str]:
    return [
        program("qemu-system-x86_64", package="qemu-system-x86"),
        *("-machine", "q35,accel=tcg", "-m", "512", "-nodefaults", "-display", "none"),
        *("-no-reboot", "-serial", "stdio", "-qmp", f"unix:{monitor},server=on,wait=off"),
        *("-drive", f"file={overlay},if=virtio,cache=unsafe"),
        *("-nic", "user,model=virtio-net-pci"),
        *("-device", "virtio-serial-pci", "-chardev", f"socket,id=channel,fd={channel}"),
        *("-device", f"virtserialport,chardev=channel,name={CHANNEL_NAME}"),
        *("-device", "virtio-rng-pci"),
    ]


def _kernel(image: LocalImage, append: str) -> list[str]:
    command_line = f"{image.description.command_line} {append}".rstrip()
    kernel, initrd = image.path("kernel"), image.path("initrd")
    return ["-kernel", str(kernel), "-initrd", str(initrd), "-append", command_line]
