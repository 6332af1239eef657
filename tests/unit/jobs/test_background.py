# SPDX-License-Identifier: GPL-2.0-only
"""Work for jobs in the background. The database is real; callbacks that hang are stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from job_records import Tables
from latent_libvirt.jobs.background import INTERVAL, BackgroundWork


class Receivers:
    """Callbacks whose receivers never answer."""

    def __init__(self) -> None:
        self.sent = 0
        self.ended: Callable[[], object] = lambda: None

    async def send(self) -> None:
        self.sent += 1
        await Deferred()


def master_of(tables: Tables, looks: list[float], clock: Clock) -> Any:
    """Return a master that notes when it looks into its database for cancellations."""

    async def do(function: Callable[..., Any], *arguments: Any) -> Any:
        looks.append(clock.seconds())
        return function(tables.connection, *arguments)

    mq = SimpleNamespace(startConsuming=lambda *_: succeed(SimpleNamespace()))
    return SimpleNamespace(reactor=clock, mq=mq, db=SimpleNamespace(pool=SimpleNamespace(do=do)))


def test_cancellations_are_said_again_while_receivers_of_callbacks_say_nothing(
    tables: Tables,
) -> None:
    clock = Clock()
    looks: list[float] = []
    receivers: Any = Receivers()
    work = BackgroundWork(master_of(tables, looks, clock), receivers)
    Deferred.fromCoroutine(work.start())

    clock.pump([INTERVAL] * 6)

    assert receivers.sent == 1
    assert len(looks) >= 6
