# SPDX-License-Identifier: GPL-2.0-only
"""Flow of a console to a browser: the console waits while much is on the way that nobody saw."""

from __future__ import annotations

from typing import Any


class Flow:
    """Stops and resumes a session.

    :param session: has ``pauseProducing`` and ``resumeProducing``.
    :param most: bytes that may be on the way.
    """

    def __init__(self, session: Any, most: int) -> None:
        self._session = session
        self._most = most
        self._unshown = 0
        self._is_full = False
        self._has_room = True

    def sent(self, count: int) -> None:
        """Note so many bytes that are about to be sent: what shows them may answer at once."""
        self._unshown += count
        self._regulate()

    def shown(self, count: bytes) -> None:
        """Note how many bytes the browser says that it has shown, in decimal digits."""
        self._unshown = max(0, self._unshown - int(count[:9]))
        self._regulate()

    def note_room(self, *, has_room: bool) -> None:
        """Note whether the connection takes more."""
        self._has_room = has_room
        self._regulate()

    def _regulate(self) -> None:
        is_full = not self._has_room or self._unshown >= self._most
        if is_full == self._is_full:
            return
        self._is_full = is_full
        if is_full:
            self._session.pauseProducing()
        else:
            self._session.resumeProducing()
