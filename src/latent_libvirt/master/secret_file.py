# SPDX-License-Identifier: GPL-2.0-only
"""A secret in a file that is its owner's alone, for a ``master.cfg`` that must not hold it."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import Final

from buildbot.config.errors import ConfigErrors

from latent_libvirt.upstream.base_directory import from_base_directory

LARGEST: Final = 4096  # bytes

_FOR_OTHERS: Final = 0o077


def read_secret(path: str | os.PathLike[str]) -> str:
    """Return what a file holds, without the white space around it.

    :param path: relative paths are looked for as those of ``pool.yaml`` are.
    :raises ConfigErrors: it cannot be read, is empty, or others than its owner may use it.
    """
    name = os.fspath(path)
    try:
        content = _content(Path(from_base_directory(path)))
        secret = content.decode().strip()
    except OSError as error:
        raise _refusal(name, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _refusal(name, "is not text") from None
    if not secret or not secret.isprintable() or len(content) > LARGEST:
        raise _refusal(name, f"has to hold one line of at most {LARGEST} bytes")
    return secret


def _content(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise _refusal(str(path), "is no ordinary file")
        if mode & _FOR_OTHERS:
            advice = f"chmod 600 {shlex.quote(str(path))}"
            raise _refusal(str(path), f"may be used by others than its owner: {advice}")
        return file.read(LARGEST + 1)


def _refusal(name: str, why: str) -> ConfigErrors:
    return ConfigErrors([f"the secret's file {name} {why}"])
