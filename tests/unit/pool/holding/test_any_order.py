# SPDX-License-Identifier: GPL-2.0-only
"""Whatever happens to held and frozen VMs, in any order, no slot is lost and nothing is left."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from latent_libvirt.errors import HostError
from latent_libvirt.host.states.frozen_io import CannotBeFrozenError
from latent_libvirt.pool.lease import Lease
from paper_pool import PaperMachine, PaperPool, config_of, machine_of

ONE: dict[str, object] = {
    "hold_on_failure": "1h",
    "freeze": True,
    "max_held": 1,
    "spares": 1,
}
CONFIGS = [
    config_of(one=ONE, two={}),
    config_of(hosts=("alpha",), one=ONE, two={}),
    config_of(slots=1, one=ONE, two={}),
    config_of(two={}),
    config_of(one={**ONE, "hosts": ["beta"]}, two={}),
]


class Life:
    """A pool to which anything happens; a number chooses among what it can happen to."""

    def __init__(self) -> None:
        self.pool = PaperPool(CONFIGS[0])
        self.leases: list[Lease] = []
        self._workers = 0

    def busy(self) -> list[PaperMachine]:
        return [m for host in self.pool.paper_hosts.values() for m in host.machines if m.is_busy]

    def build(self, number: int) -> None:
        label = ("one", "two")[number % 2]
        if not self.pool.allocator.has(label):
            return
        self._workers += 1
        lease = self.pool.give(label, f"worker-{self._workers}", request=self._workers)
        done = self.pool.brought_up(lease)
        done.addErrback(lambda _: None)
        machine_of(lease.vm).comes_up()
        if machine_of(lease.vm).is_busy:
            machine_of(lease.vm).goes_on()
        if done.called:
            lease.attached()
            self.leases.append(lease)
        else:
            done.cancel()
            Deferred.fromCoroutine(self.pool.release(lease, graceful=False))

    def fail(self, number: int) -> None:
        if self.leases:
            lease = self.leases.pop(number % len(self.leases))
            Deferred.fromCoroutine(self.pool.release(lease, graceful=True, failed=True))

    def go_on(self, number: int) -> None:
        if busy := self.busy():
            busy[number % len(busy)].goes_on()

    def break_off(self, number: int) -> None:
        if busy := self.busy():
            machine = busy[number % len(busy)]
            cannot = machine.step == "freeze" and number % 2
            machine.fails(CannotBeFrozenError("no space") if cannot else HostError("no connection"))

    def thaw(self, number: int) -> None:
        if there := list(self.pool.frozen):
            thawing = self.pool.thaws.thaw(there[number % len(there)], 100.0)
            Deferred.fromCoroutine(thawing).addErrback(lambda _: None)

    def release(self, number: int) -> None:
        kept = [*self.pool.frozen, *self.pool.holds]
        if not kept:
            return
        found = kept[number % len(kept)]
        if found in list(self.pool.holds):
            self.pool.holds.release(found)
        else:
            Deferred.fromCoroutine(self.pool.thaws.release(found))

    def configure(self, number: int) -> None:
        self.pool.configure(CONFIGS[number % len(CONFIGS)])

    def lose_or_find_a_host(self, number: int) -> None:
        hosts = list(self.pool.paper_hosts.values())
        host = hosts[number % len(hosts)]
        host.usable = not host.usable
        self.pool.hosts_changed()

    def wait(self, number: int) -> None:
        self.pool.clock.advance((0, 1, 30, 1000)[number % 4])
        self.pool.tidy()

    def end(self, *, keep: bool) -> None:
        Deferred.fromCoroutine(self.pool.stop(keep=keep))
        for lease in self.leases:
            Deferred.fromCoroutine(self.pool.release(lease, graceful=False))
        while busy := self.busy():
            busy[0].goes_on()
            self.pool.clock.advance(0)
        self.pool.clock.advance(0)


EVENTS: list[Callable[[Life, int], None]] = [
    Life.build,
    Life.fail,
    Life.go_on,
    Life.go_on,
    Life.break_off,
    Life.thaw,
    Life.thaw,
    Life.release,
    Life.configure,
    Life.lose_or_find_a_host,
    Life.wait,
]


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 7)), max_size=60), st.booleans())
def test_no_slot_is_lost_and_nothing_is_left(
    events: list[tuple[Callable[[Life, int], None], int]],
    keep: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    life = Life()

    for event, number in events:
        event(life, number)
        taken = life.pool.capacity.taken
        assert taken == {vm.allocation for vm in life.pool.registry}
    life.end(keep=keep)

    assert not life.pool.capacity.taken
    assert not list(life.pool.registry)
    assert not life.pool.clock.getDelayedCalls()
