# SPDX-License-Identifier: GPL-2.0-only
"""Waiting requests that need no question, since one like them was refused a moment ago. Pure.

A request is like another if it has the same values of all properties that were read when the other
was refused (``watched.py``). What is remembered is good for one try of a builder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

Values = Mapping[int, str]
"""The values that one property has in the sets of requests (*buildsets*), as they are stored."""


class Refusals:
    """What was refused in one try of a builder."""

    def __init__(self) -> None:
        self._values: dict[str, Values] = {}
        self._refused: dict[tuple[str, ...], set[tuple[str | None, ...]]] = defaultdict(set)

    def unknown(self, names: Collection[str]) -> list[str]:
        """Return, sorted, those properties of *names* whose values have not been learnt yet."""
        return sorted(set(names) - set(self._values))

    def learn(self, values: Mapping[str, Values]) -> None:
        """Take the values of some more properties."""
        self._values.update(values)

    def add(self, buildset: int, names: Collection[str]) -> None:
        """Note that a request of *buildset* was refused, for the values of *names*, all learnt."""
        key = tuple(sorted(names))
        self._refused[key].add(tuple(self._values[name].get(buildset) for name in key))

    def cover(self, buildset: int) -> bool:
        """Whether a request of *buildset* would be refused, too."""
        for names, refused in self._refused.items():
            if tuple([self._values[name].get(buildset) for name in names]) in refused:
                return True
        return False
