# SPDX-License-Identifier: GPL-2.0-only
"""Boot sector and partition tables of a disk: whether a BIOS can boot it, and it is whole."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SECTOR: Final = 512
_BOOT_CODE: Final = 440
_TABLE_AT: Final = 446
_ENTRY: Final = struct.Struct("<B3xB3xII")
_SIGNATURE: Final = b"\x55\xaa"
_PROTECTIVE: Final = 0xEE
_GPT: Final = b"EFI PART"
_GPT_HEADER: Final = struct.Struct("<8s64xQII")
_MOST_ENTRIES: Final = 1024

_OTHER_ARCHITECTURES: Final = {
    # "Root partition", by architecture (The Discoverable Partitions Specification).
    "b921b045-1df0-41c3-af44-4c6f280d3fae": "aarch64",
    "69dad710-2ce4-4e3c-b16c-21a1d49abed3": "armv7",
    "44479540-f297-41b2-9af7-d131d5f0458a": "i386",
    "c31c45e6-3f39-412e-80fb-4809c4980599": "ppc64le",
    "72ec70a6-cf74-40e6-bd49-4bda08e8f224": "riscv64",
    "5eead9a9-fe09-4a1e-a1d7-520d00531306": "s390x",
}

_X86: Final = "Take the image of the distribution for x86-64 (amd64)."


@dataclass(frozen=True)
class Defect:
    """A reason why a disk cannot become an image.

    :param what: what the disk is or has, as the end of a sentence.
    :param why: more of it; may be empty.
    """

    what: str
    why: str
    remedy: str


def defect(disk: bytes, *, size: int) -> Defect | None:
    """Return what is wrong with a disk; ``None`` if a BIOS may boot it.

    :param disk: its first bytes, a mebibyte or more where it has them.
    :param size: bytes of the whole disk.
    """
    if len(disk) < _SECTOR or disk[_SECTOR - 2 : _SECTOR] != _SIGNATURE:
        return Defect(
            "has no boot sector",
            "A disk begins with one. So this is no disk, or only a partition of one.",
            "Take the distribution's cloud image, a whole disk.",
        )
    kinds, end = _partitions(disk)
    if end > size:
        return Defect(
            "is truncated",
            f"Its last partition ends at byte {end}, and the disk has {size} bytes.",
            "Download it again, and compare its checksum with that of its maker.",
        )
    if others := sorted(
        {_OTHER_ARCHITECTURES[kind] for kind in kinds & _OTHER_ARCHITECTURES.keys()}
    ):
        return Defect(f"is a disk for {', '.join(others)}", "VMs here are x86-64 machines.", _X86)
    if not any(disk[:_BOOT_CODE]):
        return Defect(
            "has no boot loader for a BIOS",
            "It is no disk for x86-64, or boots only by UEFI. VMs here have a BIOS.",
            _X86,
        )
    return None


def _partitions(disk: bytes) -> tuple[set[str], int]:
    """Return the types of the GPT's partitions, and the byte after the last one of any table."""
    entries = [_ENTRY.unpack_from(disk, _TABLE_AT + 16 * index) for index in range(4)]
    used = [(kind, first + count) for _flag, kind, first, count in entries if kind and count]
    if not any(kind == _PROTECTIVE for kind, _end in used):
        return set(), max((end for _kind, end in used), default=0) * _SECTOR
    gpt = list(_gpt(disk))
    return {kind for kind, _end in gpt}, max((end for _kind, end in gpt), default=0) * _SECTOR


def _gpt(disk: bytes) -> Iterator[tuple[str, int]]:
    """Yield the type of each partition of a GPT, and the sector after it."""
    if len(disk) < 2 * _SECTOR:
        return
    magic, first, count, length = _GPT_HEADER.unpack_from(disk, _SECTOR)
    if magic != _GPT or length < 128:  # noqa: PLR2004
        return
    for index in range(min(count, _MOST_ENTRIES)):
        at = first * _SECTOR + index * length
        entry = disk[at : at + 48]
        if len(entry) == 48 and any(entry[:16]):  # noqa: PLR2004
            yield str(uuid.UUID(bytes_le=entry[:16])), struct.unpack_from("<Q", entry, 40)[0] + 1
