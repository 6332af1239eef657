# SPDX-License-Identifier: GPL-2.0-only
"""Working directories: nothing is left of a run, also if it was killed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from latent_libvirt.stress.workspace import remove_abandoned, workspace


def test_a_run_leaves_no_directory(tmp_path: Path) -> None:
    with workspace(tmp_path) as work:
        (work.directory / "file").touch()
        (work.sockets / "socket").touch()

    assert list(tmp_path.iterdir()) == []
    assert not work.sockets.exists()


def test_the_directory_of_a_run_that_was_killed_is_removed_by_the_next(tmp_path: Path) -> None:
    sockets = Path(tempfile.mkdtemp(prefix="llv-"))
    (tmp_path / "stress-killed" / "deep").mkdir(parents=True)
    (tmp_path / "stress-killed" / "sockets").write_text(str(sockets))
    (tmp_path / "other").mkdir()

    with workspace(tmp_path) as work:
        assert {path.name for path in tmp_path.iterdir()} == {work.directory.name, "other"}
    assert not sockets.exists()


def test_only_a_directory_of_sockets_is_removed_with_it(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "stress-killed").mkdir()
    (tmp_path / "stress-killed" / "sockets").write_text(str(tmp_path / "precious"))

    assert remove_abandoned(tmp_path) == [tmp_path / "stress-killed"]
    assert (tmp_path / "precious").is_dir()


def test_the_directory_of_a_run_that_runs_stays(tmp_path: Path) -> None:
    with workspace(tmp_path) as work:
        assert remove_abandoned(tmp_path) == []
        assert work.directory.is_dir()
