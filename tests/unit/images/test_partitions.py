# SPDX-License-Identifier: GPL-2.0-only
"""Boot sectors and partition tables: what a BIOS cannot boot is known before anything is booted."""

from __future__ import annotations

import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.images import partitions

MIB = 2**20
AARCH64_ROOT = "b921b045-1df0-41c3-af44-4c6f280d3fae"
X86_64_ROOT = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
BOOT_CODE = b"\xeb\x63".ljust(440, b"\x90")


def boot_sector(*entries: tuple[int, int, int], code: bytes = BOOT_CODE) -> bytes:
    """Return a sector with partitions, each of a kind, a first sector and a number of sectors."""
    table = b"".join(struct.pack("<B3xB3xII", 0, *entry) for entry in entries)
    return code.ljust(446, b"\0") + table.ljust(64, b"\0") + b"\x55\xaa"


def gpt(*entries: tuple[str, int], code: bytes = BOOT_CODE) -> bytes:
    """Return the beginning of a disk with partitions, each of a kind and with a last sector."""
    header = struct.pack("<8s64xQII", b"EFI PART", 2, 128, 128).ljust(512, b"\0")
    table = b"".join(
        (uuid.UUID(kind).bytes_le + bytes(16) + struct.pack("<QQ", 2048, last)).ljust(128, b"\0")
        for kind, last in entries
    )
    return (boot_sector((0xEE, 1, 2**32 - 1), code=code) + header + table).ljust(MIB, b"\0")


@pytest.mark.parametrize(
    "disk", [boot_sector((0x83, 2048, 4096)), gpt((X86_64_ROOT, 6143)), boot_sector()]
)
def test_a_disk_that_a_bios_boots_is_fine(disk: bytes) -> None:
    assert partitions.defect(disk, size=6144 * 512) is None


@pytest.mark.parametrize(
    ("disk", "what"),
    [
        (b"", "has no boot sector"),
        (bytes(MIB), "has no boot sector"),
        (boot_sector((0x83, 2048, 4097)), "is truncated"),
        (gpt((X86_64_ROOT, 6144)), "is truncated"),
        (gpt((AARCH64_ROOT, 4096)), "is a disk for aarch64"),
        (gpt((X86_64_ROOT, 4096), code=b""), "has no boot loader for a BIOS"),
    ],
)
def test_what_it_cannot_boot_is_named(disk: bytes, what: str) -> None:
    defect = partitions.defect(disk, size=6144 * 512)

    assert defect is not None
    assert defect.what == what
    assert defect.remedy


@given(st.binary(max_size=4096), st.integers(0, 2**40))
def test_no_disk_is_too_strange(rest: bytes, size: int) -> None:
    for disk in (rest, boot_sector((0xEE, 1, 1)) + rest, gpt() + rest):
        partitions.defect(disk, size=size)
    header = boot_sector((0xEE, 1, 1)) + b"EFI PART" + rest
    partitions.defect(header, size=size)
