# SPDX-License-Identifier: GPL-2.0-only
"""Consumers of a topic: how many browsers listen to it, through Buildbot's WebSocket.

Buildbot's message bus does not say who listens. So its method ``startConsuming`` is wrapped,
once, however many topics are counted.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from functools import wraps
from typing import Any

from twisted.internet.defer import Deferred


class Consumers:
    """Counts those who consume *topic* from now on, in place of who counted them before.

    :param mq: Buildbot's message bus.
    :param changed: called when one comes.
    """

    def __init__(self, mq: Any, topic: tuple[str, ...], changed: Callable[[], None]) -> None:
        self.count = 0
        self._changed = changed
        _counters(mq)[topic] = self

    def counted(self, reference: Any) -> _Counted:
        """Count one; return its reference, which says when it goes."""
        self.count += 1
        self._changed()
        return _Counted(reference, self._gone)

    def _gone(self) -> None:
        self.count -= 1


_Counters = MutableMapping[tuple[str, ...], Consumers]


def _counters(mq: Any) -> _Counters:
    """Return who counts the consumers of which topic of a bus."""
    found: _Counters | None = getattr(mq.startConsuming, "counters", None)
    if found is None:
        found = {}
        mq.startConsuming = _counting(mq.startConsuming, found)
    return found


def _counting(original: Any, counters: _Counters) -> Any:
    async def counted(callback: Any, topic: Any, *more: Any, **others: Any) -> Any:
        reference = await original(callback, topic, *more, **others)
        counter = counters.get(tuple(topic))
        return reference if counter is None else counter.counted(reference)

    @wraps(original)
    def start(*arguments: Any, **others: Any) -> Any:
        return Deferred.fromCoroutine(counted(*arguments, **others))

    start.counters = counters  # type: ignore[attr-defined]
    return start


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
