# SPDX-License-Identifier: GPL-2.0-only
"""Images that nobody can boot, for tests of what is done with images."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from latent_libvirt.images.description import Description, Firmware, Parts, digest_of
from latent_libvirt.images.local import DESCRIPTION, FILES, LocalImage, measure

DISK = b"disk" * 100_000
"""Longer than an empty qcow2 file, which is what libvirt makes before anything is uploaded."""


def fake_image(
    output: Path,
    *,
    name: str = "debian-12",
    content: bytes = DISK,
    year: int = 2026,
    kernel: bool = True,
    architecture: str = "x86_64",
    firmware: Firmware = "bios",
) -> LocalImage:
    """Make a local image whose disk is *content* below *output*.

    :param year: when it claims to have been built.
    :param kernel: whether it has a kernel beside its disk.
    """
    draft = output / "draft"
    draft.mkdir(parents=True)
    files = {part: file for part, file in FILES.items() if kernel or part == "disk"}
    for part, file in files.items():
        (draft / file).write_bytes(content if part == "disk" else part.encode())
    parts = Parts.model_validate({part: measure(draft / file) for part, file in files.items()})
    command_line = "root=/dev/vda1 ro" if kernel else ""
    description = Description(
        name=name,
        digest=digest_of(parts, command_line),
        created=datetime(year, 1, 2, tzinfo=UTC),
        virtual_size=2**20,
        command_line=command_line,
        parts=parts,
        launcher="0" * 12,
        recipe="0" * 64,
        architecture=architecture,
        firmware=firmware,
    )
    (draft / DESCRIPTION).write_text(description.to_json())
    (output / name).mkdir(exist_ok=True)
    return LocalImage.load(draft.rename(output / name / description.short_digest))


def qcow2_image(output: Path, *, size: int = 300_000, year: int = 2026) -> LocalImage:
    """Make an image whose disk is a qcow2 file of 1 MiB, for its header alone.

    :param size: bytes of the file.
    :param year: when it claims to have been built; images of different years differ.
    """
    header = bytes.fromhex("514649fb 00000003 0000000000000000 00000000 00000010")
    header += (2**20).to_bytes(8, "big") + bytes(4) + (1).to_bytes(4, "big")
    header += (0x30000).to_bytes(8, "big") + (0x10000).to_bytes(8, "big")
    header += (1).to_bytes(4, "big") + bytes(4 + 8 + 24)
    header += (4).to_bytes(4, "big") + (104).to_bytes(4, "big")
    content = header.ljust(size - 4, b"\0") + year.to_bytes(4, "big")
    return fake_image(output, content=content, year=year)
