# SPDX-License-Identifier: GPL-2.0-only
"""Command lines and pages of the documentation, as messages name them.

People paste the commands into a shell. Whatever is in a name, it stays one word.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

_INSTALLED: Final = Path(__file__).parents[1] / "docs"
_REPOSITORY: Final = Path(__file__).parents[3] / "docs"


def command(*words: str) -> str:
    """Return *words* as one command line, each quoted where the shell needs it."""
    return shlex.join(words)


def virsh(uri: str, *words: str) -> str:
    """Return the command line that lets virsh do something on the host at *uri*."""
    return command("virsh", "-c", uri, *words)


def listed(*commands: str) -> str:
    """Return *commands* on separate lines, so that nothing around them is pasted with them."""
    return "".join(f"\n  {each}" for each in commands)


def page(name: str, *, installed: Path = _INSTALLED, repository: Path = _REPOSITORY) -> str:
    """Return the path of a page of the documentation: in the package, or in the repository.

    Without either, it is the name.

    :param name: as in the repository, such as ``docs/glossary.md``.
    :param installed: where the package has the pages; a repository has no such directory.
    :param repository: where the repository has them, if the package is used from there.
    """
    paths = (each / name.removeprefix("docs/") for each in (installed, repository))
    return next((str(path) for path in paths if path.is_file()), name)
