# SPDX-License-Identifier: GPL-2.0-only
"""An image that starts under Secure Boot: Debian's signed boot loaders, its kernel and our system.

Its disk has an EFI system partition with the boot loaders, and the root file system of a real
image. No recipe makes such a disk.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import efi_disk
from latent_libvirt.images.description import Parts, digest_of
from latent_libvirt.images.local import FILES, LocalImage, local_images, measure

NAME = "secure-boot"


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
    efi_disk.run("qemu-img", "convert", "-O", "qcow2", disk, made / FILES["disk"])
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
            "firmware": "uefi",
        }
    )
    (made / "image.json").write_text(description.to_json())
    return made


def _write_disk(scratch: Path, disk: Path, base: LocalImage) -> None:
    command_line = base.description.command_line.replace("/dev/vda1", "/dev/vda2")
    menu = f"linux /kernel {command_line}\ninitrd /initrd\nboot\n"
    files = {part: base.path(part) for part in ("kernel", "initrd")}
    source = base.path("disk")
    efi_disk.write(scratch, disk, source, table=efi_disk.DOS, menu=menu, files=files)
