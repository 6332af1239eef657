# SPDX-License-Identifier: GPL-2.0-only
"""Disks that an import refuses, as qemu-img makes them, and those that it takes."""

from __future__ import annotations

import os
import re
import shlex
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import source
from latent_libvirt.images.programs import output_of, program, run

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
    found.place(tmp_path / "placed", link=tmp_path / "link")

    assert found.format == format_
    back = tmp_path / "back"
    qemu_img("convert", "-f", "qcow2", "-O", "raw", tmp_path / "placed", back)
    assert back.read_bytes()[: 8 * MIB] == raw.read_bytes()


def test_a_compressed_qcow2_is_taken_as_it_is(raw: Path, tmp_path: Path) -> None:
    found = source.examine(converted(raw, "qcow2", "-c"))
    found.place(tmp_path / "placed", link=tmp_path / "link")

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


def luks_2(raw: Path) -> Path:
    raw.write_bytes(b"LUKS\xba\xbe\0\2" + bytes(MIB))
    return raw


def larger_than_any_vm_has(raw: Path) -> Path:
    file = raw.with_name("large.qcow2")
    qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", file, "65T")
    return file


def with_a_backing_file_elsewhere(raw: Path) -> Path:
    file = raw.with_name("elsewhere.qcow2")
    below = 'json:{"driver": "nbd", "host": "127.0.0.1"}'
    qemu_img("create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", below, file, "8M")
    return file


def of_an_unknown_version(raw: Path) -> Path:
    file = converted(raw, "qcow2")
    with file.open("r+b") as opened:
        opened.seek(7)
        opened.write(b"\x09")
    return file


def with_another_ones_file(raw: Path) -> Path:
    file = raw.with_name("other.vmdk")
    file.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        'createType="monolithicFlat"\nRW 4 FLAT "/etc/passwd" 0\n'
    )
    return file


def fifo(raw: Path) -> Path:
    file = raw.with_name("fifo")
    os.mkfifo(file)
    return file


def loop(raw: Path) -> Path:
    file = raw.with_name("loop")
    file.symlink_to("loop")
    return file


def ova(raw: Path) -> Path:
    file = raw.with_name("machine.ova")
    with tarfile.open(file, "w") as archive:
        archive.add(raw, "disk.raw")
    return file


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
        (luks_2, "is encrypted"),
        (with_backing_file, "has a backing file"),
        (with_a_backing_file_elsewhere, "has a backing file"),
        (with_data_file, "has an external data file"),
        (in_two_files, "has its content in other files"),
        (with_another_ones_file, "has its content in other files"),
        (of_an_unknown_version, "is damaged, or no disk"),
        (larger_than_any_vm_has, "is a disk of 65 TiB"),
        (iso, "is an ISO image"),
        (ova, "is a tar archive"),
        (fifo, "is no regular file"),
        (loop, "cannot be read: Too many levels of symbolic links"),
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


def overlay(directory: Path, name: str, below: str | Path) -> Path:
    file = directory / name
    qemu_img("create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", below, file, "8M")
    return file


def a_link_beside(raw: Path) -> Path:
    raw.with_name("link").symlink_to("/etc/passwd")
    return overlay(raw.parent, "top.qcow2", "link")


def a_chain_that_ends_elsewhere(raw: Path) -> Path:
    overlay(raw.parent, "middle.qcow2", "/etc/passwd")
    return overlay(raw.parent, "top.qcow2", "middle.qcow2")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (with_another_ones_file, "/etc/passwd"),
        (lambda raw: overlay(raw.parent, "top.qcow2", "/etc/passwd"), "/etc/passwd"),
        (lambda raw: overlay(raw.parent, "top.qcow2", "../../etc/passwd"), "../../etc/passwd"),
        (lambda raw: overlay(raw.parent, "top.qcow2", ".netrc"), ".netrc"),
        (lambda raw: overlay(raw.parent, "top.qcow2", ".ssh/id_rsa"), ".ssh/id_rsa"),
        (a_link_beside, "link"),
        (a_chain_that_ends_elsewhere, "middle.qcow2"),
        (with_a_backing_file_elsewhere, "nbd"),
    ],
)
def test_nobody_is_to_convert_a_disk_that_reads_a_file_of_this_machine(
    raw: Path, make: Callable[[Path], Path], name: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        source.examine(make(raw))

    assert name in refused.value.brief
    assert "convert -O" not in str(refused.value.resolution)
    assert "copy the content" in str(refused.value.details)


@pytest.mark.parametrize("make", [with_backing_file, with_data_file, in_two_files])
def test_a_disk_of_several_files_in_its_directory_can_be_converted(
    raw: Path, make: Callable[[Path], Path]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        source.examine(make(raw))

    assert "qemu-img convert" in str(refused.value.resolution)


def test_the_command_that_decrypts_a_disk_can_be_pasted(raw: Path, tmp_path: Path) -> None:
    file = encrypted(raw).rename(tmp_path / "a,b.qcow2")
    with pytest.raises(ConfigurationError, match="is encrypted") as refused:
        source.examine(file)

    words = shlex.split(str(refused.value.resolution).rpartition(": ")[2])
    (tmp_path / "PASSPHRASE").write_text("abc")
    subprocess.run(words, check=True, cwd=tmp_path)
    qemu_img("check", "-q", "-f", "qcow2", tmp_path / "FILE")


def test_a_truncated_vmdk_is_refused_when_it_is_read_at_the_latest(
    raw: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"truncated|damaged|cannot be read"):
        source.examine(truncated_vmdk(raw)).place(tmp_path / "placed", link=tmp_path / "link")


@pytest.mark.parametrize("name", ["a:b,c.raw", "-f.raw", "two\nlines.raw", "n\udce9\x1b[31m.raw"])
def test_a_file_is_taken_whatever_its_name(raw: Path, tmp_path: Path, name: str) -> None:
    file = raw.rename(tmp_path / name)
    source.examine(file).place(tmp_path / "placed", link=tmp_path / "link")

    qemu_img("convert", "-f", "qcow2", "-O", "raw", tmp_path / "placed", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()


def has_a_snapshot(file: Path) -> None:
    qemu_img("snapshot", "-c", "one", file)


def has_a_bitmap(file: Path) -> None:
    qemu_img("bitmap", "--add", file, "changes")


@pytest.mark.parametrize("change", [has_a_snapshot, has_a_bitmap])
def test_what_a_qcow2_has_besides_its_disk_is_left_out(
    raw: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    file = converted(raw, "qcow2")
    change(file)
    source.examine(file).copy(tmp_path / "copy")

    command = [program("qemu-img", package="qemu-utils"), "info", str(tmp_path / "copy")]
    said = output_of(command)
    assert not re.search("[Ss]napshot|bitmaps", said)


def test_a_file_that_is_written_while_an_image_is_made_of_it_is_named(raw: Path) -> None:
    found = source.examine(raw)
    with found.unchanged():
        raw.read_bytes()
    with (
        pytest.raises(ConfigurationError, match="was written, or replaced, while") as refused,
        found.unchanged(),
    ):
        raw.write_bytes(b"other")
    assert str(raw) in refused.value.brief
    assert refused.value.resolution


def test_it_is_named_before_what_came_of_that(raw: Path) -> None:
    def fail() -> None:
        with source.examine(raw).unchanged():
            raw.unlink()
            raise ConfigurationError("the guest cannot read its disk")

    with pytest.raises(ConfigurationError, match="was written, or replaced, while"):
        fail()
