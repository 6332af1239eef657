# SPDX-License-Identifier: GPL-2.0-only
"""Saves slots before a job needs them, and deletes saved states that are not worth their space.

A VM that boots is saved on its way, whatever it is for (``vm.py``). This is for the slots where
none did: a VM is started in one that is free, after jobs and spares have taken what they need, only
to be saved. Nothing is saved on a host that jobs wait for and have room on. One host saves one
VM at a time, only while no other starts there, and the VM goes as soon as a job needs its room.

What a host has saved, and which of it is good for what, is known to the host
(``host/states/saved_states.py``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt.backoff import Backoff
from latent_libvirt.config.units import MIB
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.host.domains.vm_spec import vm_spec
from latent_libvirt.pool.allocator import Evictable
from latent_libvirt.pool.plan import size_of
from latent_libvirt.pool.room.saved_slots import sized
from latent_libvirt.pool.upkeep.configured import Configured
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.states.saved_states import SavedState
    from latent_libvirt.pool.room.allocations import Allocation
    from latent_libvirt.pool.room.amounts import Size
    from latent_libvirt.pool.room.capacity import Capacity
    from latent_libvirt.pool.upkeep.missing_images import MissingImages
    from latent_libvirt.pool.vm import VM
    from latent_libvirt.pool.vms import VmRegistry

log = Logger()

BACKOFF = Backoff(first=60.0, longest=3600.0)
"""Seconds until a label is saved again on a host where that has failed, at first and at most."""

AT_ONCE = 25
"""How many hosts without work are looked at in one turn of the reactor."""

EXPECTED_SIZE = 256 * MIB
"""Bytes of a state of which nobody knows a like."""

_SlotsOf = tuple[Mapping[str, frozenset[int]], Mapping[str, str], dict[str, frozenset[int]]]
"""Slots by spec hash and spec hashes by label, and what that makes: slots by label."""


@dataclass(frozen=True)
class _Rest:
    """A pause before a label is saved again on a host where that has failed.

    :param until: when it ends; seconds of :func:`passed`.
    :param spec_hash: of the VM that was not saved.
    :param image: the digest of its image, empty if that was not known.
    """

    failures: int
    until: float
    spec_hash: str
    image: str


@dataclass(frozen=True)
class _Missing:
    """What could be saved on a host.

    :param version: of the host's saved states.
    :param without_image: what ``MissingImages.whys`` returned; another object once that has
        changed.
    :param until: when a label is tried again that has failed.
    :param labels: in their order.
    :param in_slot: how many states there are in each slot.
    """

    config: PoolConfig
    version: int
    without_image: object
    until: float
    labels: tuple[str, ...]
    in_slot: Mapping[int, int]

    def stands(self, config: PoolConfig, version: int, without_image: object, now: float) -> bool:
        """Whether all of it is so still."""
        is_same = self.config is config and self.without_image is without_image
        return is_same and self.version == version and now < self.until


class StateSaver:
    """Decides what is saved on the hosts of a pool.

    :param hosts: by name; those that are configured.
    :param config: returns the pool's configuration as it is now.
    :param waiting: returns the labels of jobs that start as soon as they have room.
    :param reactor: the clock.
    """

    def __init__(  # noqa: PLR0913 - all that decides what is saved
        self,
        registry: VmRegistry,
        capacity: Capacity,
        hosts: Mapping[str, Host],
        missing_images: MissingImages,
        *,
        config: Callable[[], PoolConfig],
        waiting: Callable[[], Collection[str]],
        reactor: Any,
    ) -> None:
        self._registry = registry
        self._capacity = capacity
        self._hosts = hosts
        self._missing_images = missing_images
        self._config = config
        self._waiting = waiting
        self._reactor = reactor
        self._vms: dict[VM, None] = {}
        self._rests: dict[tuple[str, str], _Rest] = {}
        self._configured = Configured(config)
        self._slots_of: dict[str, _SlotsOf] = {}
        self._tidied: dict[str, tuple[PoolConfig, int]] = {}
        self._missing_on: dict[str, _Missing] = {}

    def __iter__(self) -> Iterator[VM]:
        return iter(tuple(self._vms))

    def evictable(self) -> list[Evictable]:
        """Return the VMs that were started to be saved."""
        return [Evictable(vm.allocation, f"saving {vm}", partial(self._drop, vm)) for vm in self]

    def resumable(self) -> dict[str, int]:
        """Return by host how many states its slots would have, with one of each kind of VM."""
        hashes, hosts = self._configured.spec_hashes, self._config().hosts
        return {
            name: host.slots * len({hashes[label] for label in self._configured.resumed_on(name)})
            for name, host in hosts.items()
        }

    def saved_slots(self) -> dict[str, dict[str, frozenset[int]]]:
        """Return the slots where a VM can be resumed, by host and label."""
        return {name: self._by_label(host) for name, host in self._hosts.items()}

    def _by_label(self, host: Host) -> dict[str, frozenset[int]]:
        """Return the slots of *host* by label. Cached until something changes."""
        slots, hashes = host.saved.states.slots(), self._configured.spec_hashes
        known = self._slots_of.get(host.name)
        if known is None or known[0] is not slots or known[1] is not hashes:
            by_label = {label: slots[for_] for label, for_ in hashes.items() if for_ in slots}
            by_label |= self._by_chosen_size(host, slots)
            known = self._slots_of[host.name] = slots, hashes, by_label
        return known[2]

    def _by_chosen_size(
        self, host: Host, slots: Mapping[str, frozenset[int]]
    ) -> dict[str, frozenset[int]]:
        """Return the slots with VMs of sizes that builds have chosen."""
        found = {}
        for state in host.saved.states:
            size = self._chosen_size(state)
            if size is not None:
                found[sized(state.record.label, size)] = slots[state.record.spec_hash]
        return found

    def _chosen_size(self, state: SavedState) -> Size | None:
        """Return the size of *state*, if a build may still choose it."""
        config, record = self._config(), state.record
        size = size_of(config, record)
        if size is None:
            return None
        spec = vm_spec(config, record.label, vcpus=size.vcpus, memory=size.memory)
        return size if spec.hash == record.spec_hash else None

    # What is there, and not wanted.

    def tidy(self) -> Iterator[None]:
        """Delete what is not wanted any more, and save what is missing; a few hosts at a time.

        A host where nothing has changed since the last time costs next to nothing.
        """
        for number, (name, host) in enumerate(tuple(self._hosts.items())):
            if self._hosts.get(name) is host:
                has_worked = self._tidy_host(host)
                if host.usable:
                    has_worked |= self._save_one(host)
                if has_worked or number % AT_ONCE == AT_ONCE - 1:
                    yield

    def _tidy_host(self, host: Host) -> bool:
        """Delete what is not wanted on *host*, and return whether that had to be looked at."""
        config, states = self._config(), host.saved.states
        before, version = self._tidied.get(host.name, (None, 0))
        if before is config and version == states.version:
            return False
        self._delete_unwanted(host)
        self._keep_within(config.hosts[host.name].saved_state_space, host)
        self._tidied[host.name] = config, states.version
        return True

    def _delete_unwanted(self, host: Host) -> None:
        config = self._config()
        hashes, labels = self._configured.spec_hashes, self._configured.resumed_on(host.name)
        wanted = {hashes[label] for label in labels}
        for state in host.saved.states:
            is_chosen = state.record.label in labels and self._chosen_size(state) is not None
            if state.record.spec_hash not in wanted and not is_chosen:
                host.saved.retire(state, "no label asks for such a VM any more")
            elif state.name.slot > config.hosts[host.name].slots:
                host.saved.retire(state, "the host does not have that slot any more")

    def _keep_within(self, space: int, host: Host) -> None:
        states = host.saved.states
        excess = sum(state.size for state in states) - space
        for state in states.least_used_first():
            if excess <= 0:
                break
            excess -= state.size
            host.saved.retire(
                state, "others are used more, and the host's saved_state_space is full"
            )

    def note_image(self, host: Host, label: str, digests: Collection[str]) -> None:
        """Delete what *host* has saved of *label* with another image than *digests*.

        If it was one of those that could not be saved, another one is tried at once.
        """
        rest = self._rests.get((host.name, label))
        if rest is not None and rest.image and rest.image not in digests:
            self._forget_rest((host.name, label))
        # It may have gone while the host was asked.
        spec_hash = self._configured.spec_hashes.get(label)
        for state in host.saved.states:
            is_chosen = state.record.label == label and state.record.size
            is_its = state.record.spec_hash == spec_hash or is_chosen
            if is_its and state.record.image not in digests:
                host.saved.retire(state, "there is a newer image")

    # What is missing.

    def _save_one(self, host: Host) -> bool:
        """Save one slot of *host*, if one is missing and free; return whether that was begun."""
        # Where several masters share a host, its free slots and its space are for their jobs: what
        # each has saved is of no use to the others. VMs that boot for a job are saved all the same.
        if host.is_shared:
            return False
        # A VM that starts is saved on its way, unless another one there is before it.
        if host.saved.states.is_busy or self._capacity.starting(host.name):
            return False
        missing = self._missing(host)
        if not missing.labels or self._capacity.is_full:
            return False
        if self._is_for_jobs(host.name):
            return False
        free = self._capacity.free_slots(host.name)
        allocations = (self._take(host, label, missing.in_slot, free) for label in missing.labels)
        allocation = next(filter(None, allocations), None) if free else None
        if allocation is not None:
            self._start(allocation)
        return allocation is not None

    def _is_for_jobs(self, host: str) -> bool:
        """Whether a job waits that is about to take room which *host* may give."""
        config = self._config()
        return any(
            label in config.labels
            and self._configured.may_use(label, host)
            and self._capacity.room(label)
            for label in self._waiting()
        )

    def _take(
        self, host: Host, label: str, in_slot: Mapping[int, int], free: Collection[int]
    ) -> Allocation | None:
        """Take the free slot of *host* that has least of those where *label* is not saved."""
        saved = self._by_label(host).get(label, frozenset())
        slots = [slot for slot in free if slot not in saved]
        if not slots:
            return None
        slot = min(slots, key=lambda slot: in_slot.get(slot, 0))
        return self._capacity.take_at(label, host.name, slot)

    def _missing(self, host: Host) -> _Missing:
        """Return what could be saved; it stands as long as nothing changes on the host."""
        known = self._missing_on.get(host.name)
        config, now = self._config(), passed(self._reactor)
        version = host.saved.states.version
        without = self._missing_images.whys()
        if known is None or not known.stands(config, version, without, now):
            known = self._missing_on[host.name] = self._work_out(host, config, version, now)
        return known

    def _work_out(self, host: Host, config: PoolConfig, version: int, now: float) -> _Missing:
        """Return which labels could be saved: first the one that has least."""
        saved, states = self._by_label(host), host.saved.states
        slots, size_of = config.hosts[host.name].slots, states.sizes()
        space = config.hosts[host.name].saved_state_space - states.size
        hashes = self._configured.spec_hashes
        until, labels = math.inf, []
        without = self._missing_images.on(host.name)
        for label in self._configured.resumed_on(host.name):
            if label in without:
                self._rests.pop((host.name, label), None)
                continue
            rests = self._rests_until(host.name, label)
            # There has to be space for one more state; none is evicted for it.
            fits = size_of.get(hashes[label], EXPECTED_SIZE) <= space
            if rests > now:
                until = min(until, rests)
            elif fits and len(saved.get(label, ())) < slots:
                labels.append(label)

        def rank(label: str) -> tuple[bool, int]:
            enough = min(config.labels[label].max_vms, config.master.max_vms)
            count = len(saved.get(label, ()))
            return count >= enough, count

        in_slot = Counter(chain.from_iterable(saved.values()))
        without_image, in_order = self._missing_images.whys(), tuple(sorted(labels, key=rank))
        return _Missing(config, version, without_image, until, in_order, in_slot)

    def _start(self, allocation: Allocation) -> None:
        vm = self._registry.add(allocation, only_to_save=True)
        self._vms[vm] = None
        started = self._registry.start(vm).wait()
        started.addCallbacks(self._is_over, self._has_failed, callbackArgs=(vm,), errbackArgs=(vm,))
        started.addBoth(lambda _: self._drop(vm))
        in_background(started, str(vm))

    def _is_over(self, _result: object, vm: VM) -> None:
        states = vm.host.saved.states
        if vm.vm_id in states.vm_ids:
            self._rests.pop(_key(vm), None)
        elif "boot" in vm.timeline.phases or states.why_unfit(vm.machine.image_digest):
            self._rest(vm)
        # Else another VM of the host was being saved, and had begun to be before this one.

    def _has_failed(self, failure: Failure, vm: VM) -> None:
        if vm.ending is not None:
            return  # a job needs its room
        if not isinstance(failure.value, LatentLibvirtError):
            log.failure("{vm}", failure, vm=str(vm))
        rest = self._rest(vm)
        log.warn(
            "{vm} of label {label} was not saved, it is tried again in {rest:g} s: {error}",
            vm=str(vm),
            label=vm.allocation.label,
            rest=rest,
            error=failure.getErrorMessage(),
        )

    def _rest(self, vm: VM) -> float:
        """Let the label of *vm* rest on its host, longer each time; return for how many seconds."""
        key, spec_hash = _key(vm), vm.machine.record.spec_hash
        before = self._rests.get(key)
        is_again = before is not None and before.spec_hash == spec_hash
        failures = before.failures + 1 if before is not None and is_again else 1
        pause = BACKOFF.after(failures)
        until = passed(self._reactor) + pause
        self._rests[key] = _Rest(failures, until, spec_hash, vm.machine.image_digest)
        self._missing_on.pop(key[0], None)
        return pause

    def _rests_until(self, host: str, label: str) -> float:
        """Return until when *label* rests on *host*; another VM than the one that failed may go."""
        rest = self._rests.get((host, label))
        is_same = rest is not None and rest.spec_hash == self._configured.spec_hashes[label]
        return rest.until if rest is not None and is_same else 0.0

    def _forget_rest(self, key: tuple[str, str]) -> None:
        self._rests.pop(key, None)
        self._missing_on.pop(key[0], None)

    def _drop(self, vm: VM) -> Deferred[None]:
        self._vms.pop(vm, None)
        return self._registry.discard(vm)

    # The end.

    async def stop(self) -> None:
        """End what is being saved; what is saved waits for the next master."""
        await gatherResults([self._drop(vm) for vm in self], consumeErrors=True)

    async def end(self) -> None:
        """Let nothing remain of what is saved, either."""
        await self.stop()
        for host in self._hosts.values():
            host.saved.retire_all("the pool is not configured any more")


def _key(vm: VM) -> tuple[str, str]:
    return vm.host.name, vm.allocation.label
