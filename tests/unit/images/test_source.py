# SPDX-License-Identifier: GPL-2.0-only
"""Files that are no disk: what is refused before any program looks at them."""

from __future__ import annotations

import os
import shlex
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
        (None, ["qemu-img", "convert", "-O", "qcow2"]),
    ],
)
def test_the_command_that_helps_can_be_pasted_whatever_the_file_is_called(
    tmp_path: Path, content: bytes | None, words: list[str]
) -> None:
    path = tmp_path / NAME
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)

    with pytest.raises(ConfigurationError) as refused:
        source.examine(path)

    pasted = shlex.split(str(refused.value.resolution).rpartition(": ")[2])
    assert pasted[: len(words) + 1] == [*words, str(path)]
