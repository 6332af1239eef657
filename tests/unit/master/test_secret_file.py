# SPDX-License-Identifier: GPL-2.0-only
"""Secrets in files: which are read, and what is said of the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from buildbot.config.errors import ConfigErrors

from latent_libvirt import read_secret
from private_files import write_secret


def test_the_line_of_a_private_file_is_read(tmp_path: Path) -> None:
    write_secret(tmp_path / "secret", "like this")
    assert read_secret(tmp_path / "secret") == "like this"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_may_read_is_refused_with_what_mends_it(
    tmp_path: Path, mode: int
) -> None:
    write_secret(tmp_path / "secret", "like this")
    (tmp_path / "secret").chmod(mode)
    with pytest.raises(ConfigErrors, match="chmod 600") as refused:
        read_secret(tmp_path / "secret")
    assert "like this" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"\xff\xfe", b"x" * 5000])
def test_what_is_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    write_secret(tmp_path / "secret", "")
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ConfigErrors, match="the secret's file"):
        read_secret(tmp_path / "secret")


def test_a_fifo_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "secret", 0o600)
    with pytest.raises(ConfigErrors, match="no ordinary file"):
        read_secret(tmp_path / "secret")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="nowhere cannot be read: No such file"):
        read_secret(tmp_path / "nowhere")
