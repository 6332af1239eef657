# SPDX-License-Identifier: GPL-2.0-only
"""Views of pools: what a master knows of one, of this or another master, by versions.

Each row has the version at which it came or went, so that an open page asks for what is newer than
what it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from latent_libvirt.master.page.delta import is_delta

if TYPE_CHECKING:
    from latent_libvirt.master.page.rows import Row, Rows

MOST_GONE: Final = 5_000
"""Rows that are gone and still known by their keys. A page that is older gets all."""


class PoolView:
    """What is known of a pool.

    :param next_version: returns a version that is newer than all before it.
    :ivar heard: when its master sent something last, on the reactor's clock.
    :ivar has_stopped: whether its master said that it stops.
    :ivar complete_since: the version since which all that has gone is known.
    """

    def __init__(self, master: str, name: str, next_version: Callable[[], int]) -> None:
        self.master = master
        self.name = name
        self.heard = 0.0
        self.has_stopped = False
        self.complete_since = 0
        self._next_version = next_version
        self._rows: dict[tuple[str, str], tuple[int, Row | None]] = {}
        self._gone = 0
        self._last: tuple[str, int] | None = None

    def take(self, message: dict[str, Any]) -> bool:
        """Take what its master has sent; return whether nothing was missed before it.

        Rows are as they were, until all of them have been sent, if something was missed.
        """
        incarnation, number = message.get("incarnation"), message.get("number")
        if not (is_delta(message) and isinstance(incarnation, str) and isinstance(number, int)):
            return False
        if message.get("first"):
            self._take_all(message)
        elif self._last != (incarnation, number - 1):
            return False
        else:
            self._take_changes(message)
        self._last = (incarnation, number)
        self.has_stopped = bool(message.get("stopped"))
        return True

    def _take_all(self, message: dict[str, Any]) -> None:
        """Keep nothing that is older."""
        self._rows.clear()
        self._gone = 0
        version = self.complete_since = self._next_version()
        self._set(message["set"], version)

    def _take_changes(self, message: dict[str, Any]) -> None:
        if not (message["set"] or message["drop"]):
            return
        version = self._next_version()
        self._set(message["set"], version)
        for section, keys in message["drop"].items():
            for key in keys:
                if self._rows.pop((section, key), (0, None))[1] is not None:
                    self._gone += 1
                    self._rows[section, key] = (version, None)
        if self._gone > MOST_GONE:
            self._forget_gone(version)

    def _set(self, rows: Rows, version: int) -> None:
        for section, those in rows.items():
            for key, row in those.items():
                if self._rows.pop((section, key), (0, row))[1] is None:
                    self._gone -= 1
                self._rows[section, key] = (version, row)

    def _forget_gone(self, version: int) -> None:
        self._rows = {key: each for key, each in self._rows.items() if each[1] is not None}
        self._gone = 0
        self.complete_since = version

    @property
    def rows(self) -> Rows:
        """All its rows."""
        return self.newer(0)[0]

    def row(self, section: str, key: str) -> Row | None:
        """Return a row, if it is there."""
        return self._rows.get((section, key), (0, None))[1]

    def section(self, name: str) -> list[Row]:
        """Return the rows of a section."""
        found = ((section, row) for (section, _key), (_version, row) in self._rows.items())
        return [row for section, row in found if section == name and row is not None]

    def newer(self, version: int) -> tuple[Rows, dict[str, list[str]]]:
        """Return the rows that came after *version*, and the keys of those that went."""
        rows: Rows = {}
        gone: dict[str, list[str]] = {}
        for (section, key), (changed, row) in reversed(self._rows.items()):
            if changed <= version:
                break  # the others are older: what changes goes to the end
            if row is None:
                gone.setdefault(section, []).append(key)
            else:
                rows.setdefault(section, {})[key] = row
        return rows, gone
