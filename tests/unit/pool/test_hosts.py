# SPDX-License-Identifier: GPL-2.0-only
"""The hosts of a pool: which there are, which lead to one libvirt, and what their sweeps free.

The hosts are on paper; real ones are in tests/integration/host/test_host.py.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.config import HostConfig, PoolConfig
from latent_libvirt.errors import HostError
from latent_libvirt.host.identity import HostIdentity
from latent_libvirt.status.answers import HostSweep
from paper_pool import PaperHost, PaperPool, config_of


class Named(PaperHost):
    """A host on paper that remembers what is asked of it, and sweeps as the test says."""

    def __init__(self, name: str, reactor: Any) -> None:
        super().__init__(name, reactor)
        self.asked: list[str] = []
        self.adopts = True
        self.fails: Exception | None = None
        self.timeout: float | None = -1.0

    def start(self) -> None:
        self.asked.append("start")

    def adopt(self, _config: object) -> bool:
        self.asked.append("adopt")
        return self.adopts

    async def stop_when_empty(self, *, timeout: float | None) -> None:
        await super().stop_when_empty(timeout=timeout)
        self.timeout = timeout

    async def leftovers(self) -> Any:
        return await self._swept("would free 1 overlay")

    async def free_leftovers(self) -> Any:
        return await self._swept("freed 1 overlay")

    async def _swept(self, words: str) -> Any:
        if self.fails is not None:
            raise self.fails
        return SimpleNamespace(in_words=lambda: (words,))


class NamedPool(PaperPool):
    """A pool of such hosts."""

    def _make_host(self, name: str, config: HostConfig, context: Any) -> Any:
        self.paper_hosts[name] = Named(name, self.clock)
        return super()._make_host(name, config, context)

    def named(self, host: str) -> Named:
        return cast("Named", self.paper_hosts[host])


@pytest.fixture
def pool() -> NamedPool:
    return NamedPool(config_of(one={}))


def test_a_new_host_is_started_once_and_follows_its_configuration_then(pool: NamedPool) -> None:
    assert pool.named("alpha").asked == ["start"]

    pool.configure(pool.config)

    assert pool.named("alpha").asked == ["start", "adopt"]


def test_a_host_that_cannot_follow_is_made_again(pool: NamedPool) -> None:
    before = pool.named("alpha")
    before.adopts = False

    pool.configure(pool.config)

    assert pool.named("alpha") is not before
    assert pool.named("alpha").asked == ["start"]
    assert (before.stopped, before.timeout) == (True, None)


def test_a_host_that_has_left_the_file_keeps_no_saved_state_and_waits_for_its_vms(
    pool: NamedPool,
) -> None:
    beta = pool.named("beta")

    pool.configure(config_of(hosts=("alpha",), one={}))

    assert list(pool.hosts) == ["alpha"]
    assert beta.saved.retired_all == ["the host is not configured any more"]
    assert (beta.stopped, beta.timeout) == (True, None)
    assert not pool.named("alpha").stopped


def test_a_pool_that_stops_does_not_wait_for_ever(pool: NamedPool) -> None:
    hosts = [pool.named(name) for name in ("alpha", "beta")]

    Deferred.fromCoroutine(pool.stop(keep=True))

    assert all(host.stopped and host.timeout is not None for host in hosts)
    assert not pool.hosts


def an_identity(uuid: str) -> HostIdentity:
    return HostIdentity(uuid, f"host {uuid}", "QEMU", frozenset([f"pool of {uuid}"]))


def test_a_host_has_a_twin_if_another_one_leads_to_the_same_libvirt() -> None:
    pool = NamedPool(config_of(hosts=("alpha", "beta", "gamma"), one={}))
    for name, uuid in (("alpha", "a"), ("beta", "b"), ("gamma", "b")):
        pool.named(name).identity = an_identity(uuid)

    twins = {name: pool.hosts.twin_of(host) for name, host in pool.hosts.items()}

    assert twins == {"alpha": None, "beta": pool.hosts["gamma"], "gamma": pool.hosts["beta"]}


def test_a_host_that_has_not_said_who_it_is_is_nobodys_twin(pool: NamedPool) -> None:
    pool.named("beta").identity = an_identity("b")

    assert pool.hosts.twin_of(pool.hosts["alpha"]) is None
    assert pool.hosts.twin_of(pool.hosts["beta"]) is None


def test_slots_that_are_blocked_or_for_something_else_cannot_be_used(pool: NamedPool) -> None:
    pool.named("alpha").blocked_slots = frozenset({1})
    pool.named("beta").usable = False

    assert pool.hosts.unusable({"alpha": frozenset({2})}) == {
        "alpha": frozenset({1, 2}),
        "beta": None,
    }


class Room:
    """What a host can give to one VM: nothing, it says each time that it is asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def why_unfit(self, label: object, *, accelerator: str) -> str:
        self.asked.append(label)
        return "it is too small"


def test_what_a_host_is_too_small_for_is_worked_out_once_for_what_it_says() -> None:
    config = config_of(one={"hosts": ["alpha"]}, two={"hosts": ["beta"]})
    pool = NamedPool(config)
    room = pool.named("alpha").machine_room = Room()

    found = [pool.hosts.too_small(config) for _ in range(2)]

    assert found == [{"one": {"alpha": "it is too small"}}] * 2
    assert room.asked == [config.labels["one"]]

    larger = pool.named("alpha").machine_room = Room()
    pool.hosts.too_small(config)
    again = PoolConfig.model_validate(config.model_dump(mode="json"))
    pool.hosts.too_small(again)
    assert larger.asked == [config.labels["one"], again.labels["one"]]


@pytest.mark.parametrize(("dry_run", "words"), [(True, "would free"), (False, "freed")])
def test_a_host_that_cannot_be_swept_hides_nothing_of_the_others(
    pool: NamedPool, words: str, *, dry_run: bool
) -> None:
    pool.named("alpha").fails = HostError("host alpha does not answer")
    swept: list[tuple[HostSweep, ...]] = []

    Deferred.fromCoroutine(pool.hosts.sweep(dry_run=dry_run)).addCallback(swept.append)

    assert swept == [
        (
            HostSweep("alpha", (), "host alpha does not answer"),
            HostSweep("beta", (f"{words} 1 overlay",), ""),
        )
    ]


def test_a_sweep_that_fails_by_a_defect_is_reported_with_its_host(pool: NamedPool) -> None:
    pool.named("beta").fails = ZeroDivisionError("a defect")
    swept: list[tuple[HostSweep, ...]] = []

    Deferred.fromCoroutine(pool.hosts.sweep(dry_run=False)).addCallback(swept.append)

    assert swept[0][1].trouble == ("host beta could not be swept: ZeroDivisionError('a defect')")
