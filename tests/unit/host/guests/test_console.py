# SPDX-License-Identifier: GPL-2.0-only
"""Those who watch a console, however fast it is and however slow they are.

Real consoles are in tests/integration.
"""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.errors import GuestError
from latent_libvirt.host.guests import console as console_module
from latent_libvirt.host.guests.console import (
    BACKLOG_BYTES,
    Console,
    Output,
    Watch,
)
from latent_libvirt.host.guests.streams import CONSOLE_TAIL_BYTES
from synchronous import Reactor


class Watcher:
    """Takes what there is whenever it is told."""

    def __init__(self, console: Console) -> None:
        self.seen = b""
        self.told = 0
        self.watch: Watch | None = None
        self.watch = console.watch(self._ready)
        self._ready()

    def _ready(self) -> None:
        self.told += 1
        assert self.watch is not None
        while output := self.watch.take():
            assert not output.dropped
            self.seen += output.data


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def console(reactor: Reactor) -> Console:
    return Console("latent-libvirt-1", reactor=reactor)


def test_who_watches_sees_what_was_said_before_and_what_is_said_now(
    console: Console, reactor: Reactor
) -> None:
    console.received(b"before ")
    first = Watcher(console)
    console.received(b"between ")
    reactor.advance(0)
    second = Watcher(console)
    console.received(b"after")
    reactor.advance(0)

    assert first.seen == second.seen == b"before between after"


def test_what_was_said_long_ago_is_forgotten(console: Console) -> None:
    console.received(b"old" + b"x" * CONSOLE_TAIL_BYTES)

    assert Watcher(console).seen == b"x" * CONSOLE_TAIL_BYTES


def test_who_watches_no_more_is_told_no_more(console: Console, reactor: Reactor) -> None:
    watcher = Watcher(console)
    assert watcher.watch is not None
    console.unwatch(watcher.watch)

    console.received(b"secret")
    console.finish("it died")
    reactor.advance(0)

    assert (watcher.seen, watcher.told) == (b"", 1)


@given(st.lists(st.binary(min_size=1, max_size=30)), st.integers(1, 40))
def test_what_one_misses_is_counted_and_what_one_gets_is_the_newest(
    pieces: list[bytes], limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console_module, "BACKLOG_BYTES", limit)
        watch = Watch(lambda: None, reactor=Reactor())
        for piece in pieces:
            watch.put(piece)
        said = b"".join(pieces)

        taken = watch.take()

    expected = Output(said[-limit:], max(0, len(said) - limit)) if said else None
    assert taken == expected
    assert watch.take() is None


def test_a_flood_costs_the_reactor_one_call_until_it_comes_to_that(
    console: Console, reactor: Reactor
) -> None:
    watcher = Watcher(console)
    for _ in range(1000):
        console.received(b"x" * (BACKLOG_BYTES // 2000))
    assert len(reactor.getDelayedCalls()) == 1

    reactor.advance(0)

    assert watcher.told == 2
    assert len(watcher.seen) == BACKLOG_BYTES // 2000 * 1000


def test_nothing_is_lost_between_threads(console: Console, reactor: Reactor) -> None:
    """One thread speaks while another takes: each byte arrives once, in its order."""
    watch = console.watch(lambda: None)
    spoken = b"".join(number.to_bytes(4, "big") for number in range(20_000))
    speaker = threading.Thread(
        target=lambda: [console.received(spoken[i : i + 16]) for i in range(0, len(spoken), 16)]
    )
    speaker.start()
    seen = b""
    while speaker.is_alive() or not watch.end:
        if not speaker.is_alive():
            console.finish("done")
        seen += output.data if (output := watch.take()) else b""

    assert seen == spoken


@pytest.mark.parametrize("first", [True, False])
def test_the_end_is_told_after_the_last_word_and_the_first_reason_counts(
    console: Console, reactor: Reactor, *, first: bool
) -> None:
    watch = None if first else console.watch(lambda: None)
    console.received(b"Kernel panic")
    console.finish("it crashed")
    console.finish("the master has taken it down")
    watch = watch or console.watch(lambda: None)
    assert watch.end == ""

    assert watch.take() == Output(b"Kernel panic")

    assert watch.end == "it crashed"


def test_nothing_can_be_typed_where_no_domain_is(console: Console, reactor: Reactor) -> None:
    with pytest.raises(GuestError, match="it does not run"):
        console.write(b"x", lambda: None)
