# SPDX-License-Identifier: GPL-2.0-only
"""A disk that is copied names the base image of its new host, and is the same otherwise."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.errors import HostError
from latent_libvirt.host.states.moving.disk_header import based_on

OLD, NEW = "/old/base.qcow2", "/var/lib/elsewhere/a longer path/base.qcow2"


def overlay(directory: Path) -> bytes:
    """Return an overlay that QEMU has made."""
    base, disk = directory / "base.qcow2", directory / "disk.qcow2"
    for command in (
        ["qemu-img", "create", "-q", "-f", "qcow2", str(base), "1M"],
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(disk)],
    ):
        subprocess.run(command, check=True)
    return disk.read_bytes()


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize("size", [5, 65536, 1 << 22])
def test_qemu_reads_the_new_path_and_nothing_else_has_changed(tmp_path: Path, size: int) -> None:
    old, file = overlay(tmp_path), tmp_path / "new.qcow2"
    file.write_bytes(b"".join(based_on(in_pieces(old, size), NEW)))

    told = subprocess.run(
        ["qemu-img", "info", "--output", "json", str(file)], capture_output=True, check=True
    )

    info = json.loads(told.stdout)
    assert info["full-backing-filename"] == NEW
    assert info["backing-filename-format"] == "qcow2"
    assert file.read_bytes()[65536:] == old[65536:]


@given(data=st.binary(max_size=200))
def test_what_is_no_disk_is_refused(data: bytes) -> None:
    with pytest.raises(HostError, match="no qcow2 disk"):
        list(based_on(iter([data]), NEW))


def test_a_path_that_has_no_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="too long"):
        list(based_on(iter([overlay(tmp_path)]), "/" + "a" * 1023))


def test_a_disk_that_is_based_on_nothing_is_refused(tmp_path: Path) -> None:
    overlay(tmp_path)

    with pytest.raises(HostError, match="based on another one"):
        list(based_on(iter([(tmp_path / "base.qcow2").read_bytes()]), NEW))
