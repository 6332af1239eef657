# SPDX-License-Identifier: GPL-2.0-only
"""Disks that an import refuses, as qemu-img makes them, and those that it takes."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import source
from latent_libvirt.images.programs import program, run

MIB = 2**20


def qemu_img(*arguments: str | Path) -> None:
    run([program("qemu-img", package="qemu-utils"), *arguments])


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Give a raw disk of 8 MiB with a boot loader, a partition and some data."""
    entry = struct.pack("<B3xB3xII", 0x80, 0x83, 2048, 8 * 2048 - 2048)
    sector = b"\xeb\x63".ljust(446, b"\x90") + entry.ljust(64, b"\0") + b"\x55\xaa"
    path = tmp_path / "disk.raw"
    path.write_bytes((sector + bytes(3 * MIB) + os.urandom(MIB)).ljust(8 * MIB, b"\0"))
    return path


def converted(raw: Path, format_: str, *options: str) -> Path:
    target = raw.with_suffix(f".{format_}")
    qemu_img("convert", "-f", "raw", "-O", format_, *options, raw, target)
    return target


@pytest.mark.parametrize("format_", ["raw", "qcow2", "vmdk", "vhdx", "vdi", "vpc"])
def test_every_format_becomes_a_qcow2_with_the_same_content(
    raw: Path, tmp_path: Path, format_: str
) -> None:
    file = raw if format_ == "raw" else converted(raw, format_)
    found = source.examine(file)
    found.place(tmp_path / "placed")

    assert found.format == format_
    back = tmp_path / "back"
    qemu_img("convert", "-f", "qcow2", "-O", "raw", tmp_path / "placed", back)
    assert back.read_bytes()[: 8 * MIB] == raw.read_bytes()


def test_a_compressed_qcow2_is_taken_as_it_is(raw: Path, tmp_path: Path) -> None:
    found = source.examine(converted(raw, "qcow2", "-c"))
    found.place(tmp_path / "placed")

    assert (tmp_path / "placed").stat().st_size < MIB


def truncated_qcow2(raw: Path) -> Path:
    file = converted(raw, "qcow2")
    os.truncate(file, file.stat().st_size - MIB // 2)
    return file


def truncated_raw(raw: Path) -> Path:
    os.truncate(raw, 6 * MIB)
    return raw


def truncated_vmdk(raw: Path) -> Path:
    file = converted(raw, "vmdk", "-o", "subformat=streamOptimized")
    os.truncate(file, file.stat().st_size // 2)
    return file


def encrypted(raw: Path) -> Path:
    file = raw.with_name("secret.qcow2")
    secret = ["--object", "secret,id=key,data=abc"]
    # Not LUKS: qemu-img times its key, and fails on machines whose clock of CPU time is coarse.
    options = "encrypt.format=aes,encrypt.key-secret=key"
    qemu_img("create", "-q", *secret, "-f", "qcow2", "-o", options, file, "8M")
    return file


def with_backing_file(raw: Path) -> Path:
    file = raw.with_name("overlay.qcow2")
    qemu_img("create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw, file)
    return file


def with_data_file(raw: Path) -> Path:
    return converted(raw, "qcow2", "-o", f"data_file={raw.with_name('data')},data_file_raw=on")


def in_two_files(raw: Path) -> Path:
    return converted(raw, "vmdk", "-o", "subformat=monolithicFlat")


def iso(raw: Path) -> Path:
    raw.write_bytes(bytes(0x8001) + b"CD001" + bytes(MIB))
    return raw


def directory(raw: Path) -> Path:
    return raw.parent


def missing(raw: Path) -> Path:
    return raw.with_name("nothing")


def empty(raw: Path) -> Path:
    raw.write_bytes(b"")
    return raw


def packed(raw: Path) -> Path:
    raw.write_bytes(b"\xfd7zXZ\0" + bytes(1000))
    return raw


def device(_raw: Path) -> Path:
    return Path("/dev/null")


def text(raw: Path) -> Path:
    raw.write_text("404 Not Found\n" * 100)
    return raw


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (truncated_qcow2, "is damaged or truncated"),
        (truncated_raw, "is truncated"),
        (encrypted, "is encrypted"),
        (with_backing_file, "has a backing file"),
        (with_data_file, "has an external data file"),
        (in_two_files, "has its content in other files"),
        (iso, "is an ISO image"),
        (directory, "is a directory"),
        (missing, "cannot be read: No such file or directory"),
        (empty, "is empty"),
        (packed, "is packed with xz"),
        (device, "is no regular file"),
        (text, "has no boot sector"),
    ],
)
def test_what_cannot_become_an_image_is_refused_with_a_remedy(
    raw: Path, make: Callable[[Path], Path], why: str
) -> None:
    file = make(raw)
    with pytest.raises(ConfigurationError) as refused:
        source.examine(file)

    assert why in refused.value.brief
    assert str(file) in refused.value.brief
    assert refused.value.resolution


def test_a_truncated_vmdk_is_refused_when_it_is_read_at_the_latest(
    raw: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"truncated|damaged|cannot be read"):
        source.examine(truncated_vmdk(raw)).place(tmp_path / "placed")
