# SPDX-License-Identifier: GPL-2.0-only
"""Ways out of one VM: opened side by side, and closed whatever becomes of them.

The host is a fake. It says which openings are under way at once. Real channels are in
``tests/integration/test_channel.py``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.errors import GuestError, HostError
from latent_libvirt.guest.protocol import Identity, MasterChannel, NetworkChannel
from latent_libvirt.host.domains.ways_out import WaysOut


class Line:
    """A channel that is open until it is closed."""

    def __init__(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


class Channels:
    """Channels of one kind, of which one is opened when the test says so."""

    def __init__(self) -> None:
        self.opening: Deferred[Line] | None = None

    def line(self, _link: object, _find: object) -> Deferred[Line]:
        self.opening = Deferred()
        return self.opening

    def opens(self) -> Line:
        assert self.opening is not None
        line = Line()
        self.opening.callback(line)
        return line

    def fails(self) -> None:
        assert self.opening is not None
        self.opening.errback(HostError("it does not answer"))


class Host:
    """What ways out need of a host."""

    def __init__(self) -> None:
        self.channels, self.network_channels = Channels(), Channels()
        self.connection = SimpleNamespace(host="a")
        self.resolver = self.reactor = None


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def ways(host: Any) -> WaysOut:
    calls: Any = SimpleNamespace(name="latent-libvirt-1", find=None)
    return WaysOut(host, calls)


def opened(ways: WaysOut) -> list[object]:
    """Open both ways; return a list that gets what comes of it."""
    network = NetworkChannel(policy=None, record=None)
    identity = Identity("a", "secret", MasterChannel(None), "worker", network)
    guest: Any = None
    results: list[object] = []
    opening = Deferred.fromCoroutine(ways.open(identity, guest))
    opening.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results


def test_both_ways_are_opened_side_by_side(host: Host, ways: WaysOut) -> None:
    results = opened(ways)
    assert host.channels.opening is not None
    assert host.network_channels.opening is not None

    host.network_channels.opens()
    assert not results

    host.channels.opens()
    assert results == ["Its launcher did not open the worker's channel: build its image again."]


@pytest.mark.parametrize("first", [True, False])
def test_a_way_that_cannot_be_opened_is_the_error_and_the_other_one_is_closed_at_the_end(
    host: Host, ways: WaysOut, *, first: bool
) -> None:
    results = opened(ways)
    both = (host.channels, host.network_channels)
    failing, other = both if first else both[::-1]
    failing.fails()
    line = other.opens()

    assert isinstance(results[0], HostError)
    assert line.is_open
    ways.end()
    ways.close()
    assert not line.is_open


def test_a_way_that_is_open_only_after_the_end_of_the_vm_is_closed_at_once(
    host: Host, ways: WaysOut
) -> None:
    results = opened(ways)
    host.channels.opens()
    ways.end()
    ways.close()

    late = host.network_channels.opens()

    assert not late.is_open
    assert isinstance(results[0], GuestError)
