# SPDX-License-Identifier: GPL-2.0-only
"""The place where the search for a builder's next build goes on, if one try was too short. Pure.

A round looks at each waiting request of the builder once, in several tries. If somebody asks for a
try in the middle of it, what was looked at before may have changed, so that another round follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

Key = tuple[float, int]
"""Where a request stands in the queue of its builder: the smallest comes first."""


class Rounds:
    """The rounds of a distributor's builders, by name."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self._asked_before: dict[str, int] = {}
        self._after: dict[str, Key] = {}

    def asked(self, builders: Iterable[str]) -> None:
        """Note that somebody wants *builders* to be tried."""
        self._asked.update(builders)

    def after(self, builder: str) -> Key | None:
        """Return after which request a try begins; ``None`` at the first, with a new round."""
        if builder not in self._after:
            self._asked_before[builder] = self._asked[builder]
        return self._after.get(builder)

    def stop(self, builder: str, after: Key) -> None:
        """Note that the try stops there, and that the round goes on in the next one."""
        self._after[builder] = after

    def end(self, builder: str) -> bool:
        """End the round; return whether another one has to follow."""
        took_several = self._after.pop(builder, None) is not None
        return took_several and self._asked[builder] > self._asked_before[builder]
