# SPDX-License-Identifier: GPL-2.0-only
"""Images like a real one, but for a file of their launcher: as an older image has it.

A launcher of long ago is not at hand, for a release has no history. So a line of today's is changed
on a copy of the disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from latent_libvirt.guest.launcher import version
from latent_libvirt.images.description import Description, digest_of
from latent_libvirt.images.local import FILES, LocalImage, describe, measure
from latent_libvirt.images.programs import program, run
from latent_libvirt.images.rootfs import HOME

_FIRST_PARTITION = 1024**2


def older_image(
    directory: Path, base: LocalImage, name: str, file: str, change: tuple[str, str]
) -> LocalImage:
    """Return a copy of *base* called *name*, made in *directory*.

    :param file: of the launcher, by its name there.
    :param change: a text in it, and what stands in its place.
    """
    directory.mkdir()
    for part in ("kernel", "initrd"):
        os.link(base.path(part), directory / FILES[part])
    text = version.files()[file].read_text()
    assert text.count(change[0]) == 1
    changed = directory / "changed.py"
    changed.write_text(text.replace(*change))
    _write_disk(directory, base, f"{HOME}/launcher/{file}", changed)
    describe(directory, _description(directory, base, name))
    return LocalImage.load(directory)


def _write_disk(directory: Path, base: LocalImage, path: str, changed: Path) -> None:
    """Put *changed* in the place of the file at *path*, which must not be used as compiled."""
    raw, disk = directory / "disk.raw", directory / FILES["disk"]
    convert = [program("qemu-img", package="qemu-utils"), "convert", "-O"]
    run([*convert, "raw", base.path("disk"), raw])
    where, file = os.path.split(path)
    commands = directory / "commands"
    commands.write_text(
        f"cd {where}\n"
        f"rm {file}\n"
        f"rm __pycache__/{file.removesuffix('.py')}.cpython-311.pyc\n"
        f"write {changed} {file}\n"
    )
    system = f"{raw}?offset={_FIRST_PARTITION}"
    run([program("debugfs", package="e2fsprogs"), "-w", "-f", commands, system])
    run([*convert, "qcow2", raw, disk])
    raw.unlink()


def _description(directory: Path, base: LocalImage, name: str) -> Description:
    disk = measure(directory / FILES["disk"])
    parts = base.description.parts.model_copy(update={"disk": disk})
    digest = digest_of(parts, base.description.command_line)
    changes = {"name": name, "digest": digest, "parts": parts, "launcher": "0" * 12}
    return base.description.model_copy(update=changes)
