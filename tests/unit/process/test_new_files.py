# SPDX-License-Identifier: GPL-2.0-only
"""New files that a command writes: all or none, over nothing, and refused in words."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.process import new_files


def refusal(file: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        new_files.refuse_unfit(file)
    return caught.value


def test_what_can_be_a_new_file_is_not_refused(tmp_path: Path) -> None:
    new_files.refuse_unfit(tmp_path / "new")


def test_what_is_no_file_is_named_and_nobody_is_asked_to_remove_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))

    for file, kind in (
        (Path("/dev/null"), "a device"),
        (tmp_path / "fifo", "a FIFO"),
        (tmp_path / "directory", "a directory"),
        (tmp_path / "socket", "a socket"),
        (Path(), "a directory"),
    ):
        error = refusal(file)
        assert error.brief == f"{file} is {kind}, and no file can be written there"
        assert error.resolution == "Name a new file."


def test_a_file_and_a_link_that_leads_nowhere_stay(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")

    for name in ("file", "link"):
        assert refusal(tmp_path / name).brief == f"{tmp_path / name} is there already"


def test_a_directory_that_is_missing_can_be_made_by_pasting_a_line(tmp_path: Path) -> None:
    error = refusal(tmp_path / "not there/new")

    assert error.brief == f"there is no directory {tmp_path}/not there"
    assert (error.resolution or "").splitlines()[1:] == [f"  mkdir -p '{tmp_path}/not there'"]


def test_a_file_in_place_of_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert refusal(tmp_path / "file/new").brief == f"{tmp_path}/file is no directory"


def test_a_directory_that_the_user_may_not_write_into_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere

    assert f"may not write into the directory {tmp_path}." in str(refusal(tmp_path / "new"))


def test_standard_output_is_no_file() -> None:
    assert refusal(Path("-")).brief == "this cannot go to standard output"


def test_a_name_that_is_too_long_is_refused_with_the_systems_reason(tmp_path: Path) -> None:
    assert refusal(tmp_path / ("x" * 300)).details == "File name too long"


def test_files_are_written_with_their_directories(tmp_path: Path) -> None:
    texts = {tmp_path / "a/b/one": "1", tmp_path / "a/two": "2"}
    with new_files.written(texts):
        pass

    assert {file: file.read_text() for file in texts} == texts


def test_none_is_left_if_one_is_there(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    texts = {tmp_path / "new/one": "1", tmp_path / "there": "2"}
    with pytest.raises(ConfigurationError, match="is there already"), new_files.written(texts):
        pytest.fail("it was begun")

    assert [file.name for file in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "mine"


def test_none_is_left_if_one_cannot_be_written(tmp_path: Path) -> None:
    texts = {tmp_path / "one": "1", Path("/dev/full/two"): "2"}
    with pytest.raises(ConfigurationError, match="two cannot be written"):
        new_files.written(texts).__enter__()

    assert list(tmp_path.iterdir()) == []


def test_none_is_left_if_they_are_good_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(HostError), new_files.written({tmp_path / "a/one": "1"}):
        raise HostError("no good")

    assert list(tmp_path.iterdir()) == []


def test_what_is_only_half_written_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnicodeEncodeError):
        new_files.written({tmp_path / "one": "half \udcff"}).__enter__()

    assert list(tmp_path.iterdir()) == []
