# SPDX-License-Identifier: GPL-2.0-only
"""Builders whose queue is known to be empty, so that a try need not read it.

Buildbot tries a builder when a request comes, and again when a build, its worker and its VM end. A
queue that was read and was empty stays empty until Buildbot announces a request: a new one, or one
that a master does not have any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from latent_libvirt.deferreds import in_background
from latent_libvirt.timers import passed

TRUSTED: Final = 10.0
"""Seconds after which a queue is read all the same: a router between masters may lose messages."""


class EmptyQueues:
    """The builders, by name, whose queue was empty when it was read last.

    :param announced: called with each request that waits from now on, when no queue is known any
        more.
    """

    def __init__(
        self, reactor: Any, *, announced: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        self._reactor = reactor
        self._then = announced
        self._is_listening = False
        self._announced = 0
        self._empty: dict[str, tuple[int, float]] = {}

    def listen(self, master: Any) -> None:
        """Hear of requests that wait from now on. Until that is so, no queue is known."""
        in_background(self._listen(master), "new requests are not heard of, so queues are read")

    async def _listen(self, master: Any) -> None:
        for event in ("new", "unclaimed"):
            await master.mq.startConsuming(self._hear, ("buildrequests", None, event))
        self._is_listening = True

    def _hear(self, _key: object, request: Mapping[str, Any]) -> None:
        self._announced += 1
        if self._then is not None:
            self._then(request)

    @property
    def moment(self) -> tuple[int, float]:
        """What stands for now; a read begins with it."""
        return self._announced, passed(self._reactor)

    def read(self, builder: str, moment: tuple[int, float], *, is_empty: bool) -> None:
        """Note what a read has found that began at *moment*."""
        if is_empty and self._is_listening:
            self._empty[builder] = moment
        else:
            self._empty.pop(builder, None)

    def is_known(self, builder: str) -> bool:
        """Whether nothing can wait for *builder*."""
        announced, since = self._empty.get(builder, (-1, 0.0))
        return announced == self._announced and passed(self._reactor) - since < TRUSTED
