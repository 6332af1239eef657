# SPDX-License-Identifier: GPL-2.0-only
"""Pieces of files, with and without holes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.images.pieces import Hole, Piece, pieces

MIB = 1 << 20

PARTS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([1, 100, 4096, 65536, MIB, MIB + 1])), max_size=5
)


def joined(found: list[Piece]) -> bytes:
    return b"".join(
        b"".join(piece.zeros()) if isinstance(piece, Hole) else piece for piece in found
    )


@given(parts=PARTS, start=st.integers(0, 3 * MIB))
def test_pieces_together_are_the_file_from_any_place_on(
    parts: list[tuple[bool, int]], start: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "file")
        with path.open("wb") as file:
            for is_hole, size in parts:
                file.seek(size, 1) if is_hole else file.write(b"x" * size)
            file.truncate()

        assert joined(list(pieces(path, start))) == path.read_bytes()[start:]


def test_holes_and_stored_zeros_are_not_read_as_data(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" + bytes(2 * MIB - 1) + bytes(MIB))
    with path.open("ab") as file:
        file.truncate(1000 * MIB)

    data = [piece for piece in pieces(path) if isinstance(piece, bytes)]

    assert [len(each) for each in data] == [MIB]


def test_a_file_system_that_knows_no_holes_gives_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.SEEK_DATA", 1000)
    monkeypatch.setattr("os.SEEK_HOLE", 1001)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3 * MIB + b"y")

    assert list(pieces(path)) == [b"x" * MIB] * 3 + [b"y"]
