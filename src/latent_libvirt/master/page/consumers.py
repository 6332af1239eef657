# SPDX-License-Identifier: GPL-2.0-only
"""Consumers of a topic: how many browsers listen to it, through Buildbot's WebSocket.

Buildbot's message bus does not say who listens. So its method ``startConsuming`` is wrapped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from twisted.internet.defer import Deferred


class Consumers:
    """Counts those who consume *topic* from now on.

    :param mq: Buildbot's message bus.
    :param changed: called when one comes.
    """

    def __init__(self, mq: Any, topic: tuple[str, ...], changed: Callable[[], None]) -> None:
        self.count = 0
        self._topic = topic
        self._changed = changed
        mq.startConsuming = self._counting(mq.startConsuming)

    def _counting(self, original: Any) -> Any:
        @wraps(original)
        async def counted(callback: Any, topic: Any, *more: Any, **others: Any) -> Any:
            reference = await original(callback, topic, *more, **others)
            if tuple(topic) != self._topic:
                return reference
            self.count += 1
            self._changed()
            return _Counted(reference, self._gone)

        @wraps(original)
        def start(*arguments: Any, **others: Any) -> Any:
            return Deferred.fromCoroutine(counted(*arguments, **others))

        return start

    def _gone(self) -> None:
        self.count -= 1


class _Counted:
    """A reference to a consumer, which says once that it is gone."""

    def __init__(self, reference: Any, gone: Callable[[], None]) -> None:
        self._reference = reference
        self._gone: Callable[[], None] | None = gone

    def stopConsuming(self) -> Any:
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()
        return self._reference.stopConsuming()
