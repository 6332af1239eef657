# SPDX-License-Identifier: GPL-2.0-only
"""Disks that UEFI boots: an EFI system partition with Debian's signed boot loaders, and a system.

The packages of the boot loaders are unpacked and not installed. They would look for an EFI system
partition of this machine.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from latent_libvirt.images.programs import program

_MIB = 1024**2
_SECTOR = 512
_ESP_AT = _MIB
_ESP_SIZE = 64 * _MIB
_ROOT_AT = _ESP_AT + _ESP_SIZE
_BACKUP = _MIB
"""Room for the second copy of a GPT."""

_LOADERS = {
    # OVMF starts the first one of a disk that it does not know, and that the second one.
    "shim-signed": ("usr/lib/shim/shimx64.efi.signed", "EFI/BOOT/BOOTX64.EFI"),
    "grub-efi-amd64-signed": (
        "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
        "EFI/BOOT/grubx64.efi",
    ),
}

DOS = "label: dos\n{esp}, type=ef\n{root}, type=83\n"
"""Two partitions, of which the second is the root."""

GPT = "label: gpt\ndisk15: {esp}, type=uefi\ndisk1: {root}, type=linux\n"
"""The partitions of Debian's cloud images without the one for a BIOS. The first is the root."""


def write(
    scratch: Path, disk: Path, source: Path, *, table: str, menu: str, files: Mapping[str, Path]
) -> None:
    """Write a raw disk with the partition of *source*, a disk that a BIOS boots.

    :param scratch: a directory for files on the way.
    :param table: :data:`DOS` or :data:`GPT`.
    :param menu: what the boot loader does; empty for no boot loaders.
    :param files: what the EFI system partition has besides, by name.
    """
    old = json.loads(output("qemu-img", "info", "--output=json", source))
    size = old["virtual-size"] - _ESP_AT
    with disk.open("wb") as file:
        file.truncate(_ROOT_AT + size + _BACKUP)
    esp, root = _place(_ESP_AT, _ESP_SIZE), _place(_ROOT_AT, size)
    run("sfdisk", "--quiet", disk, given=table.format(esp=esp, root=root))
    system = {"driver": "raw", "offset": _ESP_AT, "size": size}
    name = str(source.absolute())
    system["file"] = {"driver": "qcow2", "file": {"driver": "file", "filename": name}}
    target = f"driver=raw,offset={_ROOT_AT},size={size},file.filename={disk}"
    run("qemu-img", "convert", "-n", f"json:{json.dumps(system)}", "--target-image-opts", target)
    _write_esp(scratch, disk, menu, files)


def _place(at: int, size: int) -> str:
    return f"start={at // _SECTOR}, size={size // _SECTOR}"


def _write_esp(scratch: Path, disk: Path, menu: str, files: Mapping[str, Path]) -> None:
    place = f"{disk}@@{_ESP_AT}"
    run("mformat", "-i", place, "-F", "-T", _ESP_SIZE // _SECTOR, "-h", 64, "-s", 32, "::")
    if not menu:
        return
    run("mmd", "-i", place, "::/EFI", "::/EFI/BOOT", "::/EFI/debian")
    for package, (path, target) in _LOADERS.items():
        run("mcopy", "-i", place, _unpacked(scratch, package) / path, f"::/{target}")
    for name, file in files.items():
        run("mcopy", "-i", place, file, f"::/{name}")
    configuration = scratch / "grub.cfg"
    configuration.write_text(menu)
    run("mcopy", "-i", place, configuration, "::/EFI/debian/grub.cfg")


def _unpacked(scratch: Path, package: str) -> Path:
    directory = scratch / package
    directory.mkdir()
    directory.chmod(0o777)  # apt downloads as another user, where it can
    run("apt-get", "-qq", "download", package, directory=directory)
    (archive,) = directory.glob("*.deb")
    run("dpkg-deb", "--extract", archive, directory)
    return directory


_PACKAGES = {"qemu-img": "qemu-utils", "sfdisk": "fdisk", "apt-get": "apt", "dpkg-deb": "dpkg"}


def _command(name: str, *arguments: object) -> list[str]:
    return [program(name, package=_PACKAGES.get(name, "mtools")), *map(str, arguments)]


def run(name: str, *arguments: object, given: str = "", directory: Path | None = None) -> None:
    """Run a program of a Debian package."""
    command = _command(name, *arguments)
    subprocess.run(command, check=True, input=given, text=True, cwd=directory)


def output(name: str, *arguments: object) -> str:
    """Return what one says."""
    command = _command(name, *arguments)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
