# SPDX-License-Identifier: GPL-2.0-only
"""Quiet of a console: the moment at which a guest has answered what was typed, and waits again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from twisted.internet.defer import Deferred

from latent_libvirt.timers import cancel

if TYPE_CHECKING:
    from latent_libvirt.host.guests.console import Console

SILENCE: Final = 0.5
"""Seconds without output after which a guest has said all it has to say."""

AT_MOST: Final = 5.0
"""Seconds that are waited for a guest that says nothing, or does not end."""


class Quiet:
    """What a console says from now on; each wait is for the next silence.

    It is a context manager, which watches the console no longer in the end.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._reactor: Any = console.reactor
        self._silence: Any = None
        self._over: Deferred[None] = Deferred()
        self._watch = console.watch(self._said)
        self._watch.take()  # what was said before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._console.unwatch(self._watch)
        cancel(self._silence)
        self._end()

    def _said(self) -> None:
        if self._watch.take() is None:
            return
        cancel(self._silence)
        if not self._over.called:
            self._silence = self._reactor.callLater(SILENCE, self._over.callback, None)

    async def wait(self) -> None:
        """Return when the guest has said something and then nothing for a while, or it is late."""
        late = self._reactor.callLater(AT_MOST, self._end)
        try:
            await self._over
        finally:
            cancel(late)

    def _end(self) -> None:
        if not self._over.called:
            self._over.callback(None)
