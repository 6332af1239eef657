# SPDX-License-Identifier: GPL-2.0-only
"""Problems of a pool's YAML file, all at once, each with its place.

``source.py``, ``explain.py`` and ``rules/`` find them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import display_name

_LONGEST_PART = 1000

MOST_PROBLEMS = 40
"""Problems that are reported of one file. A file of another kind may have a hundred thousand, and a
master logs them each time that it is saved."""


@dataclass(frozen=True)
class Problem:
    """One thing that somebody has to change.

    :param file: as it was given to :func:`~latent_libvirt.config.load`.
    :param line: counted from 1; ``None`` if the file as a whole is meant.
    :param column: in characters, counted from 1.
    :param path: the place in the document, like ``labels.debian-12.memory``; empty for its root.
    :param what: what is wrong.
    :param remedy: what would be right.
    """

    file: str
    line: int | None
    column: int | None
    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        problem = f"{_cut(self.what)}; {_cut(self.remedy)}"
        return ": ".join(part for part in (where, _cut(self.path), problem) if part)

    @property
    def position(self) -> tuple[int, int]:
        """Sorts problems in the order of the file."""
        return self.line or 0, self.column or 0


class InvalidConfiguration(ConfigurationError):  # noqa: N818 - it says what, as ConfigErrors does
    """A file cannot be used; as text, one line for each problem.

    :param path: the file.
    :param problems: what is wrong with it, in any order; the first ones of the file are kept.
    :param untold: how many more problems there are.
    """

    def __init__(
        self, path: str | os.PathLike[str], problems: Iterable[Problem], *, untold: int = 0
    ) -> None:
        self.path = path
        found = sorted(dict.fromkeys(problems), key=lambda problem: problem.position)
        self.problems: tuple[Problem, ...] = tuple(found[:MOST_PROBLEMS])
        self.untold = untold + len(found) - len(self.problems)
        count = len(self.problems) + self.untold
        super().__init__(
            f"{display_name(path)} cannot be used: {count} problem{'s' if count != 1 else ''}",
            details="\n".join(self.lines()),
        )

    def __str__(self) -> str:
        return self.details or self.brief

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self.path, self.problems, self.untold)

    def lines(self) -> list[str]:
        """Return one line for each problem, and one for all that are left out."""
        lines = [str(problem) for problem in self.problems]
        if self.untold:
            lines += [f"{display_name(self.path)}: and {self.untold} more; is it the right file?"]
        return lines


def _again(
    path: str | os.PathLike[str], problems: tuple[Problem, ...], untold: int
) -> InvalidConfiguration:
    return InvalidConfiguration(path, problems, untold=untold)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_PART else text[: _LONGEST_PART - 1] + "…"
