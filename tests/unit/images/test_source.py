# SPDX-License-Identifier: GPL-2.0-only
"""Files that are no disk: what is refused before any program looks at them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import source

NAME = "my image; $(reboot)"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1f\x8b rest", ["gunzip", "--keep"]),
        (b"\xfd7zXZ\0 rest", ["xz", "--decompress", "--keep"]),
        (b"x" * 257 + b"ustar", ["tar", "-xf"]),
    ],
)
def test_the_command_that_helps_can_be_pasted_whatever_the_file_is_called(
    tmp_path: Path, content: bytes, words: list[str]
) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)

    with pytest.raises(ConfigurationError) as refused:
        source.examine(path)

    pasted = shlex.split(str(refused.value.resolution).rpartition(": ")[2])
    assert pasted[: len(words) + 1] == [*words, str(path)]


def fifo(directory: Path) -> Path:
    os.mkfifo(directory / "fifo")
    return directory / "fifo"


@pytest.mark.parametrize(
    "name", ["/dev/zero", "/dev/null", "/dev/full", "/proc/self/mem", "/proc/version", fifo]
)
def test_what_is_no_regular_file_is_refused_with_its_name_and_is_not_to_be_copied(
    tmp_path: Path, name: str | Callable[[Path], Path]
) -> None:
    path = Path(name) if isinstance(name, str) else name(tmp_path)

    with pytest.raises(ConfigurationError) as refused:
        source.examine(path)

    assert refused.value.brief == f"{path} is no regular file"
    assert refused.value.resolution == "Name the file of a disk."


def test_a_block_device_is_to_be_copied_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only root makes a device, and not everywhere.
    monkeypatch.setattr("stat.S_ISBLK", lambda _mode: True)
    path = tmp_path / NAME
    path.touch()

    with pytest.raises(ConfigurationError, match="is no regular file") as refused:
        source.examine(path)

    pasted = shlex.split(str(refused.value.resolution).rpartition(": ")[2])
    assert pasted == ["qemu-img", "convert", "-O", "qcow2", str(path), "FILE"]
