# SPDX-License-Identifier: GPL-2.0-only
"""An image that starts under Secure Boot: Debian's signed boot loaders, its kernel and our system.

Its disk has an EFI system partition with the boot loaders, and the root file system of a real
image. No recipe makes such a disk. The packages of the boot loaders are unpacked and not installed.
They would look for an EFI system partition of this machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from latent_libvirt.images.description import Parts, digest_of
from latent_libvirt.images.local import FILES, LocalImage, local_images, measure
from latent_libvirt.images.programs import program

NAME = "secure-boot"

_MIB = 1024**2
_SECTOR = 512
_ESP_AT = _MIB
_ESP_SIZE = 64 * _MIB
_ROOT_AT = _ESP_AT + _ESP_SIZE

_LOADERS = {
    # OVMF starts the first one of a disk that it does not know, and that the second one.
    "shim-signed": ("usr/lib/shim/shimx64.efi.signed", "EFI/BOOT/BOOTX64.EFI"),
    "grub-efi-amd64-signed": (
        "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
        "EFI/BOOT/grubx64.efi",
    ),
}


def signed_image(cache: Path, base: LocalImage) -> LocalImage:
    """Return the image, made unless *cache* has one of the same base."""
    output = cache / "images"
    for image in local_images(output, NAME):
        if image.description.recipe == base.description.digest:
            return image
    directory = output / NAME / base.description.short_digest
    shutil.rmtree(directory, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        made = _make(Path(temporary), base)
        directory.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(made, directory)
    (image,) = [image for image in local_images(output, NAME) if image.directory == directory]
    return image


def _make(scratch: Path, base: LocalImage) -> Path:
    made, disk = scratch / "image", scratch / "disk.raw"
    made.mkdir()
    _write_disk(scratch, disk, base)
    _run("qemu-img", "convert", "-O", "qcow2", disk, made / FILES["disk"])
    parts = Parts(disk=measure(made / FILES["disk"]))
    description = base.description.model_copy(
        update={
            "name": NAME,
            "digest": digest_of(parts, ""),
            "created": datetime.now(UTC),
            "virtual_size": disk.stat().st_size,
            "command_line": "",
            "parts": parts,
            "recipe": base.description.digest,
        }
    )
    (made / "image.json").write_text(description.to_json())
    return made


def _write_disk(scratch: Path, disk: Path, base: LocalImage) -> None:
    old = json.loads(_output("qemu-img", "info", "--output=json", base.path("disk")))
    size = old["virtual-size"] - _ESP_AT
    with disk.open("wb") as file:
        file.truncate(_ROOT_AT + size)
    _run("sfdisk", "--quiet", disk, given=_table())
    system = {"driver": "raw", "offset": _ESP_AT, "size": size}
    system["file"] = {"driver": "qcow2", "file": {"driver": "file", "filename": _name(base)}}
    target = f"driver=raw,offset={_ROOT_AT},size={size},file.filename={disk}"
    _run("qemu-img", "convert", "-n", f"json:{json.dumps(system)}", "--target-image-opts", target)
    _write_esp(scratch, disk, base)


def _name(base: LocalImage) -> str:
    return str(base.path("disk").absolute())


def _table() -> str:
    first, second = (f"start={at // _SECTOR}" for at in (_ESP_AT, _ROOT_AT))
    return f"label: dos\n{first}, size={_ESP_SIZE // _SECTOR}, type=ef\n{second}, type=83\n"


def _write_esp(scratch: Path, disk: Path, base: LocalImage) -> None:
    place = f"{disk}@@{_ESP_AT}"
    _run("mformat", "-i", place, "-F", "-T", _ESP_SIZE // _SECTOR, "-h", 64, "-s", 32, "::")
    _run("mmd", "-i", place, "::/EFI", "::/EFI/BOOT", "::/EFI/debian")
    for package, (path, target) in _LOADERS.items():
        _run("mcopy", "-i", place, _unpacked(scratch, package) / path, f"::/{target}")
    for part in ("kernel", "initrd"):
        _run("mcopy", "-i", place, base.path(part), f"::/{part}")
    menu = scratch / "grub.cfg"
    command_line = base.description.command_line.replace("/dev/vda1", "/dev/vda2")
    menu.write_text(f"linux /kernel {command_line}\ninitrd /initrd\nboot\n")
    _run("mcopy", "-i", place, menu, "::/EFI/debian/grub.cfg")


def _unpacked(scratch: Path, package: str) -> Path:
    directory = scratch / package
    directory.mkdir()
    directory.chmod(0o777)  # apt downloads as another user, where it can
    _run("apt-get", "-qq", "download", package, directory=directory)
    (archive,) = directory.glob("*.deb")
    _run("dpkg-deb", "--extract", archive, directory)
    return directory


_PACKAGES = {"qemu-img": "qemu-utils", "sfdisk": "fdisk", "apt-get": "apt", "dpkg-deb": "dpkg"}


def _command(name: str, *arguments: object) -> list[str]:
    return [program(name, package=_PACKAGES.get(name, "mtools")), *map(str, arguments)]


def _run(name: str, *arguments: object, given: str = "", directory: Path | None = None) -> None:
    command = _command(name, *arguments)
    subprocess.run(command, check=True, input=given, text=True, cwd=directory)


def _output(name: str, *arguments: object) -> str:
    command = _command(name, *arguments)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
