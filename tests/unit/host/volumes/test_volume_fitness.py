# SPDX-License-Identifier: GPL-2.0-only
"""Which headers of volumes can be below an overlay."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.host.volumes.volume_fitness import defect_of_header


def made(path: Path, *arguments: str) -> bytes:
    """Return the beginning of what qemu-img makes with these arguments."""
    subprocess.run(["qemu-img", "create", "-q", *arguments, str(path), "1M"], check=True)
    return path.read_bytes()[:104]


@pytest.mark.parametrize(
    ("arguments", "defect"),
    [
        (["-f", "qcow2"], ""),
        (["-f", "qcow2", "-o", "compat=0.10"], ""),
        (["-f", "qcow2", "-o", "extended_l2=on"], ""),
        (["-f", "qcow2", "-o", "compression_type=zstd"], ""),
        (["-f", "raw"], "it is no qcow2"),
        (["-f", "vmdk"], "it is no qcow2"),
        (["-f", "qcow2", "-o", "data_file={}.data"], "its data is in another file"),
    ],
)
def test_what_qemu_makes_is_told_apart(tmp_path: Path, arguments: list[str], defect: str) -> None:
    path = tmp_path / "volume"

    header = made(path, *(argument.format(path) for argument in arguments))

    assert defect_of_header(header) == defect


def test_damaged_headers_are_no_images(tmp_path: Path) -> None:
    header = made(tmp_path / "volume", "-f", "qcow2")

    assert "no version 9" in defect_of_header(header[:4] + b"\0\0\0\x09" + header[8:])
    # As qemu-img writes it with encrypt.format=luks, whose key it takes seconds to make.
    assert defect_of_header(header[:32] + (2).to_bytes(4) + header[36:]) == "it is encrypted"
    assert "no size" in defect_of_header(header[:24] + bytes(8) + header[32:])
    assert "too soon" in defect_of_header(header[:72])
    assert "corrupt" in defect_of_header(header[:72] + (2).to_bytes(8) + header[80:])
    assert "features" in defect_of_header(header[:72] + (1 << 40).to_bytes(8) + header[80:])


@given(st.binary(max_size=120) | st.binary(max_size=120).map(lambda b: b"QFI\xfb" + b))
def test_any_header_is_an_image_or_has_a_defect(header: bytes) -> None:
    assert isinstance(defect_of_header(header), str)
