# SPDX-License-Identifier: GPL-2.0-only
"""New files that a command writes: all that belong together or none, and over nothing.

What could not be a new file is refused in words before anything is done.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from latent_libvirt.advice import command, listed
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import display_name

_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
"""What is never removed to have a file in its place."""


def refuse_unfit(file: Path) -> None:
    """See that a new file can be made there, by its user.

    :raises ConfigurationError: something is there, or its directory is not fit.
    """
    if str(file) == "-":
        raise ConfigurationError("this cannot go to standard output", resolution="Name a new file.")
    _refuse_taken(file)
    directory = file.parent
    if not directory.is_dir():
        _refuse_directory(directory)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"{display_name(file)} cannot be written",
            details=f"This user may not write into the directory {display_name(directory)}.",
            resolution="Name a file in another directory.",
        )


def _refuse_taken(file: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        mode = _mode(file)
        kind = next((kind for is_kind, kind in _KINDS if is_kind(mode)), None)
        if kind is None:
            raise ConfigurationError(
                f"{display_name(file)} is there already",
                resolution="Name another file, or remove this one: nothing is ever overwritten.",
            )
        raise ConfigurationError(
            f"{display_name(file)} is {kind}, and no file can be written there",
            resolution="Name a new file.",
        )


def _mode(file: Path) -> int:
    try:
        return file.lstat().st_mode
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise
        raise _unwritable(file, error) from error


def _refuse_directory(directory: Path) -> None:
    name = display_name(directory)
    if os.path.lexists(directory):
        raise ConfigurationError(
            f"{name} is no directory", resolution="Name a file in another directory."
        )
    raise ConfigurationError(
        f"there is no directory {name}",
        resolution="Make it, or name a file in another directory:"
        + listed(command("mkdir", "-p", str(directory))),
    )


@contextmanager
def written(texts: Mapping[Path, str]) -> Iterator[None]:
    """Write new files, and the directories that they need; if the block fails, none is left.

    :raises ConfigurationError: one of them is there, or cannot be written.
    """
    with ExitStack() as undo:
        for file, text in texts.items():
            _write(file, text, undo)
        yield
        undo.pop_all()


def _write(file: Path, text: str, undo: ExitStack) -> None:
    try:
        for directory in reversed(file.parents):
            if not directory.exists():
                directory.mkdir()
                undo.callback(_forgiving, directory.rmdir)
        with file.open("x", encoding="utf-8") as stream:
            undo.callback(_forgiving, file.unlink)
            stream.write(text)
    except FileExistsError:
        _refuse_taken(file)
        raise
    except OSError as error:
        raise _unwritable(file, error) from error


def _forgiving(undo: Callable[[], None]) -> None:
    with suppress(OSError):
        undo()


def _unwritable(file: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{display_name(file)} cannot be written", details=error.strerror or str(error)
    )
