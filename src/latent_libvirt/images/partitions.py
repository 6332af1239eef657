# SPDX-License-Identifier: GPL-2.0-only
"""Boot sector and partition tables of a disk: what firmware boots it, and whether it is whole."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from latent_libvirt.images.description import Firmware

_SECTOR: Final = 512
_BOOT_CODE: Final = 440
_TABLE_AT: Final = 446
_ENTRY: Final = struct.Struct("<B3xB3xII")
_SIGNATURE: Final = b"\x55\xaa"
_PROTECTIVE: Final = 0xEE
_EFI: Final = 0xEF
_GPT: Final = b"EFI PART"
_GPT_HEADER: Final = struct.Struct("<8s64xQII")
_GPT_ENTRY: Final = struct.Struct("<16s16xQQQ")
_MOST_ENTRIES: Final = 1024

_EFI_SYSTEM: Final = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
_BIOS_BOOT: Final = "21686148-6449-6e6f-744e-656564454649"
_LEGACY_BOOTABLE: Final = 4
"""The attribute of a partition that a BIOS's boot loader starts (UEFI specification, 5.3.3)."""

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


@dataclass(frozen=True)
class _Table:
    """The partitions of a disk.

    :param kinds: the types of those of a GPT.
    :param end: the sector after the last one.
    :param for_uefi: whether one is an EFI system partition.
    :param for_bios: whether one is what a BIOS's boot loader needs of a GPT.
    """

    kinds: frozenset[str]
    end: int
    for_uefi: bool
    for_bios: bool


def firmware(disk: bytes) -> Firmware:
    """Return what boots a disk: ``uefi`` if no BIOS does.

    :param disk: its first bytes, a mebibyte or more where it has them.
    """
    if len(disk) < _SECTOR:
        return "bios"
    table = _table(disk)
    by_bios = any(disk[:_BOOT_CODE]) and (table.for_bios or not table.kinds)
    return "uefi" if table.for_uefi and not by_bios else "bios"


def defect(disk: bytes, *, size: int, firmware: Firmware = "bios") -> Defect | None:
    """Return what is wrong with a disk; ``None`` if the firmware may boot it.

    :param disk: its first bytes, a mebibyte or more where it has them.
    :param size: bytes of the whole disk.
    """
    if len(disk) < _SECTOR or disk[_SECTOR - 2 : _SECTOR] != _SIGNATURE:
        return Defect(
            "has no boot sector",
            "A disk begins with one. So this is no disk, or only a partition of one.",
            "Take the distribution's cloud image, a whole disk.",
        )
    table = _table(disk)
    if table.end * _SECTOR > size:
        return Defect(
            "is truncated",
            f"Its last partition ends at byte {table.end * _SECTOR}, and the disk has {size} "
            "bytes.",
            "Download it again, and compare its checksum with that of its maker.",
        )
    if others := {_OTHER_ARCHITECTURES[kind] for kind in table.kinds & {*_OTHER_ARCHITECTURES}}:
        what = f"is a disk for {', '.join(sorted(others))}"
        return Defect(what, "VMs here are x86-64 machines.", _X86)
    return _lack_of_boot_loader(disk, table, firmware)


def _lack_of_boot_loader(disk: bytes, table: _Table, firmware: Firmware) -> Defect | None:
    if firmware == "uefi" and not table.for_uefi:
        why = "UEFI starts the boot loader of such a partition."
        return Defect("has no EFI system partition", why, "Leave out --firmware.")
    if firmware == "bios" and not any(disk[:_BOOT_CODE]):
        what = "has no boot loader for a BIOS"
        if table.for_uefi:
            return Defect(what, "It has an EFI system partition.", "Leave out --firmware.")
        why = "It has no EFI system partition either. It may be no disk for x86-64."
        return Defect(what, why, _X86)
    return None


def _table(disk: bytes) -> _Table:
    entries = [_ENTRY.unpack_from(disk, _TABLE_AT + 16 * index) for index in range(4)]
    used = [(kind, first + count) for _flag, kind, first, count in entries if kind and count]
    kinds_there = {kind for kind, _end in used}
    if _PROTECTIVE not in kinds_there:
        end = max((end for _kind, end in used), default=0)
        return _Table(frozenset(), end, _EFI in kinds_there, for_bios=True)
    gpt = list(_gpt(disk))
    kinds = frozenset(kind for kind, _end, _attributes in gpt)
    for_bios = _BIOS_BOOT in kinds or any(flags & _LEGACY_BOOTABLE for _, _end, flags in gpt)
    end = max((end for _kind, end, _flags in gpt), default=0)
    return _Table(kinds, end, _EFI_SYSTEM in kinds, for_bios)


def _gpt(disk: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield the type of each partition of a GPT, the sector after it, and its attributes."""
    if len(disk) < 2 * _SECTOR:
        return
    magic, first, count, length = _GPT_HEADER.unpack_from(disk, _SECTOR)
    if magic != _GPT or length < 128:  # noqa: PLR2004
        return
    for index in range(min(count, _MOST_ENTRIES)):
        at = first * _SECTOR + index * length
        entry = disk[at : at + _GPT_ENTRY.size]
        if len(entry) == _GPT_ENTRY.size and any(entry[:16]):
            kind, _first, last, attributes = _GPT_ENTRY.unpack(entry)
            yield str(uuid.UUID(bytes_le=kind)), last + 1, attributes
