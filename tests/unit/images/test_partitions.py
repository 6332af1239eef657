# SPDX-License-Identifier: GPL-2.0-only
"""Boot sectors and partition tables: what cannot be booted is known before anything is booted."""

from __future__ import annotations

import struct
import uuid
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.images import partitions

MIB = 2**20
AARCH64_ROOT = "b921b045-1df0-41c3-af44-4c6f280d3fae"
X86_64_ROOT = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
EFI_SYSTEM = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
BOOT_CODE = b"\xeb\x63".ljust(440, b"\x90")


def boot_sector(*entries: tuple[int, int, int], code: bytes = BOOT_CODE) -> bytes:
    """Return a sector with partitions, each of a kind, a first sector and a number of sectors."""
    table = b"".join(struct.pack("<B3xB3xII", 0, *entry) for entry in entries)
    return code.ljust(446, b"\0") + table.ljust(64, b"\0") + b"\x55\xaa"


def gpt(*entries: tuple[str, int], code: bytes = BOOT_CODE, flags: int = 0) -> bytes:
    """Return the beginning of a disk with partitions, each of a kind and with a last sector."""
    header = struct.pack("<8s64xQII", b"EFI PART", 2, 128, 128).ljust(512, b"\0")
    rows = (
        uuid.UUID(kind).bytes_le + bytes(16) + struct.pack("<QQQ", 2048, last, flags)
        for kind, last in entries
    )
    table = b"".join(row.ljust(128, b"\0") for row in rows)
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
        (gpt((EFI_SYSTEM, 4096), code=b""), "has no boot loader for a BIOS"),
    ],
)
def test_what_it_cannot_boot_is_named(disk: bytes, what: str) -> None:
    defect = partitions.defect(disk, size=6144 * 512)

    assert defect is not None
    assert defect.what == what
    assert defect.remedy


@pytest.mark.parametrize(
    ("disk", "firmware"),
    [
        (b"", "bios"),
        (boot_sector((0x83, 2048, 4096)), "bios"),
        (boot_sector((0x83, 2048, 4096), code=b""), "bios"),
        (boot_sector((0xEF, 2048, 4096)), "bios"),
        (boot_sector((0xEF, 2048, 4096), code=b""), "uefi"),
        (gpt((X86_64_ROOT, 4096)), "bios"),
        (gpt((EFI_SYSTEM, 4096), (X86_64_ROOT, 4096)), "uefi"),
        (gpt((EFI_SYSTEM, 4096), (X86_64_ROOT, 4096), code=b""), "uefi"),
        (gpt((EFI_SYSTEM, 4096), (BIOS_BOOT, 4096)), "bios"),
        (gpt((EFI_SYSTEM, 4096), (BIOS_BOOT, 4096), code=b""), "uefi"),
        (gpt((EFI_SYSTEM, 4096), flags=4), "bios"),
    ],
)
def test_a_disk_is_for_uefi_if_it_is_for_no_bios(
    disk: bytes, firmware: Literal["bios", "uefi"]
) -> None:
    assert partitions.firmware(disk) == firmware


def test_a_disk_that_uefi_is_to_boot_needs_an_efi_system_partition() -> None:
    size = 6144 * 512
    with_one = gpt((EFI_SYSTEM, 4096), code=b"")

    assert partitions.defect(with_one, size=size, firmware="uefi") is None
    defect = partitions.defect(gpt((X86_64_ROOT, 4096)), size=size, firmware="uefi")
    assert defect is not None
    assert defect.what == "has no EFI system partition"
    assert defect.remedy


@given(st.binary(max_size=4096), st.integers(0, 2**40))
def test_no_disk_is_too_strange(rest: bytes, size: int) -> None:
    for disk in (rest, boot_sector((0xEE, 1, 1)) + rest, gpt() + rest):
        partitions.defect(disk, size=size, firmware=partitions.firmware(disk))
    header = boot_sector((0xEE, 1, 1)) + b"EFI PART" + rest
    partitions.defect(header, size=size, firmware=partitions.firmware(header))
