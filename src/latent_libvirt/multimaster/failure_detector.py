# SPDX-License-Identifier: GPL-2.0-only
"""Failure detector: the masters that are taken for dead, by what one observer has seen so far.

Pure: no clock but the database's, no I/O. An observer that was away from the database has seen
nothing, so it begins to count again. When a database comes back, nobody has been seen for long, and
nobody is dead. ``failover.py`` has what is done to a master that is taken for dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.multimaster.membership import (
        Entry,
        Look,
    )


@dataclass(frozen=True)
class FailureTimeouts:
    """For how long a master may be silent, in seconds.

    :param silent: if its process is connected to the database: it may be busy or cut off.
    :param gone: if it is not connected: a process that lives connects again at its next beat.
    :param gap: between two looks of the observer; more, and it begins to count again.
    """

    silent: float = 10.0
    gone: float = 4.0
    gap: float = 4.0


class FailureDetector:
    """Conclusions of one observer from its looks at the list of members."""

    def __init__(self, timeouts: FailureTimeouts) -> None:
        self._timeouts = timeouts
        self._watching_since = 0.0
        self._last: Look | None = None

    def suspects(self, look: Look, *, observer: int) -> tuple[Entry, ...]:
        """Return who has been silent for too long.

        :param observer: the master that looks; it does not suspect itself.
        """
        if self._last is None or self._has_missed_something(self._last, look):
            self._watching_since = look.now
        self._last = look
        return tuple(
            entry
            for entry in look.entries
            if entry.state == "here" and entry.masterid != observer and self._is_late(entry, look)
        )

    def _has_missed_something(self, last: Look, look: Look) -> bool:
        passed = look.now - last.now
        restarted = look.server_since != last.server_since
        return restarted or not 0 <= passed <= self._timeouts.gap

    def _is_late(self, entry: Entry, look: Look) -> bool:
        silence = look.now - max(entry.seen, self._watching_since)
        return silence > (self._timeouts.silent if entry.connected else self._timeouts.gone)
