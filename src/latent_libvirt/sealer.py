# SPDX-License-Identifier: GPL-2.0-only
"""Seals slots before a job needs them, and lets go of what is sealed and not worth its space.

A VM that boots is sealed on its way, whoever it is for (``vm.py``). This is for the slots where
none did: a VM is started in one that is free, after jobs and spares have taken what they need, only
to be sealed. One host seals one VM at a time, only while no other starts there, and the VM goes as
soon as a job needs its room.

What a host has sealed, and which of it is good for what, is known to the host (``host/sealed.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt.capacity import Ledger, Place
from latent_libvirt.config import PoolConfig
from latent_libvirt.config.units import MIB
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.host.host import Host
from latent_libvirt.host.names import Owner
from latent_libvirt.plan import wishes
from latent_libvirt.steady_timers import passed
from latent_libvirt.stock import Stock
from latent_libvirt.supply import Evictable
from latent_libvirt.vm import VM

log = Logger()

FIRST_REST = 60.0
LONGEST_REST = 3600.0
"""Seconds until a label is sealed again on a host where that has failed, at first and at most."""

EXPECTED_SIZE = 256 * MIB
"""Bytes of a state of which nobody knows a like."""

_SlotsOf = tuple[Mapping[str, frozenset[int]], Mapping[str, str], dict[str, frozenset[int]]]
"""Slots by wishes and wishes by label, and what that makes: slots by label."""


class Sealer:
    """Decides what is sealed on the hosts of a pool.

    :param hosts: by name; those that are configured.
    :param reactor: tells the time.
    """

    def __init__(
        self, stock: Stock, ledger: Ledger, hosts: Mapping[str, Host], *, owner: Owner, reactor: Any
    ) -> None:
        self._stock = stock
        self._ledger = ledger
        self._hosts = hosts
        self._owner = owner
        self._reactor = reactor
        self._vms: set[VM] = set()
        self._failures: dict[tuple[str, str], int] = {}
        self._rest_until: dict[tuple[str, str], float] = {}
        self._wishes_of: tuple[PoolConfig, dict[str, str]] | None = None
        self._slots_of: dict[str, _SlotsOf] = {}

    def __iter__(self) -> Iterator[VM]:
        return iter(tuple(self._vms))

    def evictable(self) -> list[Evictable]:
        """Return the VMs that were started to be sealed."""
        return [Evictable(vm.place, f"sealing {vm}", partial(self._drop, vm)) for vm in self]

    def sealed_slots(self, config: PoolConfig) -> dict[str, dict[str, frozenset[int]]]:
        """Return the slots where a VM can be resumed, by host and label."""
        wished = self._wishes(config)
        return {name: self._by_label(host, wished) for name, host in self._hosts.items()}

    def _by_label(self, host: Host, wished: Mapping[str, str]) -> dict[str, frozenset[int]]:
        """Return the slots of *host* by label; worked out anew only where something has changed."""
        slots = host.sealed.states.slots()
        known = self._slots_of.get(host.name)
        if known is None or known[0] is not slots or known[1] is not wished:
            by_label = {label: slots[for_] for label, for_ in wished.items() if for_ in slots}
            known = self._slots_of[host.name] = slots, wished, by_label
        return known[2]

    def _wishes(self, config: PoolConfig) -> Mapping[str, str]:
        """Return the wishes of each label; worked out once for each configuration."""
        if self._wishes_of is None or self._wishes_of[0] is not config:
            self._wishes_of = config, {label: wishes(config, label) for label in config.labels}
            self._slots_of.clear()
        return self._wishes_of[1]

    # What is there, and not wanted.

    def tidy(self, config: PoolConfig) -> Iterator[None]:
        """Let go of what is not wanted any more, and seal what is missing; a host at a time."""
        for name, host in tuple(self._hosts.items()):
            if name in config.hosts:
                self._let_go_unwanted(config, host)
                self._keep_within(config.hosts[name].sealed_space, host)
                if host.usable:
                    self._seal_one(config, host)
                yield

    def _let_go_unwanted(self, config: PoolConfig, host: Host) -> None:
        wanted = {self._wishes(config)[label] for label in labels_of(config, host.name)}
        for state in host.sealed.states:
            if state.record.made_for not in wanted:
                host.sealed.retire(state, "no label asks for such a VM any more")
            elif state.name.slot > config.hosts[host.name].slots:
                host.sealed.retire(state, "the host does not have that slot any more")

    def _keep_within(self, space: int, host: Host) -> None:
        states = host.sealed.states
        excess = sum(state.size for state in states) - space
        for state in states.least_used_first():
            if excess <= 0:
                break
            excess -= state.size
            host.sealed.retire(state, "others are used more, and the host's sealed_space is full")

    async def check_images(self, config: PoolConfig) -> None:
        """Let go of what was sealed of images of which newer ones have been published."""
        for host in tuple(self._hosts.values()):
            for label in labels_of(config, host.name):
                await self._check_image(config, host, label)

    async def _check_image(self, config: PoolConfig, host: Host, label: str) -> None:
        made_for = self._wishes(config)[label]
        states = [state for state in host.sealed.states if state.record.made_for == made_for]
        if not states or not host.usable:
            return
        try:
            digest = await host.image_digest(config.image_for(config.labels[label]))
        except LatentLibvirtError as error:
            log.warn("host {host}: {error}", host=host.name, error=str(error))
            return
        for state in states:
            if state.record.image != digest:
                host.sealed.retire(state, "there is a newer image")

    # What is missing.

    def _seal_one(self, config: PoolConfig, host: Host) -> None:
        # Where several masters share a host, its free slots and its space are for their jobs: what
        # each has saved is of no use to the others. VMs that boot for a job are saved all the same.
        if host.is_shared:
            return
        # A VM that starts is sealed on its way, unless another one there is before it.
        if host.sealed.states.is_busy or self._ledger.starting(host.name):
            return
        for label, slot in self._missing(config, host):
            place = self._ledger.take_at(label, host.name, slot)
            if place is not None:
                self._start(config, place)
                return

    def _missing(self, config: PoolConfig, host: Host) -> list[tuple[str, int]]:
        """Return what could be sealed: first the label that has least, in the slot that has."""
        wished, there = self._wishes(config), host.sealed.states.slots()
        sealed = {
            label: there.get(wished[label], frozenset()) for label in labels_of(config, host.name)
        }
        in_slot = Counter(chain.from_iterable(sealed.values()))
        slots = range(1, config.hosts[host.name].slots + 1)
        missing = [
            (label, slot)
            for label in sealed
            if self._rest_until.get((host.name, label), 0.0) <= passed(self._reactor)
            and self._fits(config, host, label)
            for slot in slots
            if slot not in sealed[label]
        ]

        def rank(candidate: tuple[str, int]) -> tuple[bool, int, int]:
            label, slot = candidate
            enough = min(config.labels[label].max_vms, config.master.max_vms)
            count = len(sealed[label])
            return count >= enough, count, in_slot[slot]

        return sorted(missing, key=rank)

    def _fits(self, config: PoolConfig, host: Host, label: str) -> bool:
        """Whether there is space for one more state; none is evicted for it."""
        states, made_for = host.sealed.states, self._wishes(config)[label]
        alike = [state.size for state in states if state.record.made_for == made_for]
        size = max(alike, default=EXPECTED_SIZE)
        return states.size + size <= config.hosts[host.name].sealed_space

    def _start(self, config: PoolConfig, place: Place) -> None:
        vm = self._stock.add(config, place, owner=self._owner, only_to_seal=True)
        self._vms.add(vm)
        started = self._stock.start(vm).wait()
        started.addCallbacks(self._is_over, self._has_failed, callbackArgs=(vm,), errbackArgs=(vm,))
        started.addBoth(lambda _: self._drop(vm))
        started.addErrback(lambda failure: log.failure("{vm}", failure, vm=str(vm)))

    def _is_over(self, _result: object, vm: VM) -> None:
        key, states = (vm.host.name, vm.place.label), vm.host.sealed.states
        if vm.lease in states.leases:
            self._failures.pop(key, None)
        elif "boot" in vm.timeline.phases or states.why_unfit(vm.machine.image_digest):
            self._rest(key)
        # Else another VM of the host was being sealed, and had begun to be before this one.

    def _has_failed(self, failure: Failure, vm: VM) -> None:
        if vm.ending is not None:
            return  # a job needs its room
        if not isinstance(failure.value, LatentLibvirtError):
            log.failure("{vm}", failure, vm=str(vm))
        rest = self._rest((vm.host.name, vm.place.label))
        log.warn(
            "{vm} of label {label} was not sealed, it is tried again in {rest:g} s: {error}",
            vm=str(vm),
            label=vm.place.label,
            rest=rest,
            error=failure.getErrorMessage(),
        )

    def _rest(self, key: tuple[str, str]) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        rest = min(LONGEST_REST, FIRST_REST * 2.0 ** min(failures - 1, 10))
        self._rest_until[key] = passed(self._reactor) + rest
        return rest

    def _drop(self, vm: VM) -> Deferred[None]:
        self._vms.discard(vm)
        return self._stock.discard(vm)

    # The end.

    async def stop(self) -> None:
        """End what is being sealed; what is sealed waits for the next master."""
        await gatherResults([self._drop(vm) for vm in self], consumeErrors=True)

    async def end(self) -> None:
        """Let nothing remain of what is sealed, either."""
        await self.stop()
        for host in self._hosts.values():
            host.sealed.retire_all("the pool is not configured any more")


def labels_of(config: PoolConfig, host: str) -> Collection[str]:
    """Return the names of the labels whose VMs are to be resumed on *host*."""
    return [
        name
        for name, label in config.labels.items()
        if label.start == "resume" and host in config.hosts_for(name)
    ]
