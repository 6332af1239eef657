# SPDX-License-Identifier: GPL-2.0-only
"""Spares: VMs that are up, or on their way, before a job asks for them.

They wait for an identity and belong to no worker. A job takes one over in whatever state it is; the
shelf is filled up again afterwards, with the lowest priority (``allocator.py`` evicts spares where
a job needs their room). How many there are to be may follow the clock.

A spare outlives its master: the next one finds it at its first sweep, and goes on with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt.backoff import Backoff
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.pool.allocator import Evictable
from latent_libvirt.pool.upkeep.configured import Configured
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.host.host import Host
    from latent_libvirt.pool.room.capacity import Capacity
    from latent_libvirt.pool.upkeep.missing_images import MissingImages
    from latent_libvirt.pool.vm import VM
    from latent_libvirt.pool.vms import VmRegistry

log = Logger()

BACKOFF = Backoff(first=10.0, longest=900.0)
"""Seconds until the next spare of a label is started after one failed, at first and at most."""


AT_ONCE = 25
"""How many spares are looked at in one turn of the reactor."""


class Spares:
    """The spares of a pool.

    :param config: returns the pool's configuration as it is now.
    :param reactor: the clock.
    """

    def __init__(
        self,
        registry: VmRegistry,
        capacity: Capacity,
        missing_images: MissingImages,
        *,
        config: Callable[[], PoolConfig],
        reactor: Any,
    ) -> None:
        self._registry = registry
        self._capacity = capacity
        self._missing_images = missing_images
        self._config = config
        self._reactor = reactor
        self._vms: dict[str, list[VM]] = defaultdict(list)
        self._failures: dict[str, int] = {}
        self._rest_until: dict[str, float] = {}
        self._wanted: dict[str, int] = {}
        self._wanted_at: tuple[int, PoolConfig] | None = None
        self._configured = Configured(config)

    def __iter__(self) -> Iterator[VM]:
        return (vm for vms in self._vms.values() for vm in vms)

    # For jobs.

    def has(self, label: str) -> bool:
        """Whether there is a spare of *label* for a job, waiting or on its way."""
        return any(self._is_free(vm) for vm in self._vms.get(label, ()))

    def claim(self, label: str, avoid: Collection[str] = ()) -> VM | None:
        """Take a spare for a job: the one that waits longest, or else is furthest on its way.

        :param avoid: hosts from which none is taken.
        """
        free = [vm for vm in self._vms.get(label, ()) if self._is_free(vm)]
        vms = [vm for vm in free if vm.host.name not in avoid]
        if not vms:
            return None
        vm = min(vms, key=lambda vm: not vm.is_waiting)
        self._vms[label].remove(vm)
        return vm

    def _is_free(self, vm: VM) -> bool:
        return vm.host.usable and not self._capacity.is_allocation_drained(vm.allocation)

    def put_back(self, vm: VM) -> None:
        """Put back what was claimed and not used."""
        self._vms[vm.allocation.label].insert(0, vm)

    def evictable(self) -> list[Evictable]:
        """Return all spares, those first that are missed least: what has just begun to start."""
        newest_first = sorted(self, key=lambda vm: (vm.is_waiting, vm.age))
        return [_evictable(self, vm) for vm in newest_first]

    def drop(self, vm: VM) -> Deferred[None]:
        """End a spare, unless a job has claimed it since; fires when nothing of it is left."""
        if not self._is_on_shelf(vm):
            return succeed(None)
        self._vms[vm.allocation.label].remove(vm)
        return self._registry.discard(vm)

    # The shelf.

    def tidy(self) -> Iterator[None]:
        """End the spares that are not wanted any more, and start those that are missing.

        One at a time: between two, jobs may take what is there. What needs no work is looked at
        without a pause.
        """
        for number, vm in enumerate(tuple(self)):
            why = self._why_unwanted(vm)
            if why and self._is_on_shelf(vm):
                log.info("spare {vm} ends: {why}", vm=str(vm), why=why)
                self._drop_in_background(vm)
            if why or number % AT_ONCE == AT_ONCE - 1:
                yield
        yield from self._drop_surplus()
        yield from self._fill_up()

    def _drop_surplus(self) -> Iterator[None]:
        for label, vms in tuple(self._vms.items()):
            while len(vms) > self.wanted().get(label, 0):
                self._drop_in_background(vms[-1])
                yield

    def _fill_up(self) -> Iterator[None]:
        more = True
        while more:  # one of each label at a time, so that none gets all the room
            more = False
            for label, count in tuple(self.wanted().items()):
                if self._start_one(label, count):
                    more = True
                    yield

    def _is_on_shelf(self, vm: VM) -> bool:
        return vm in self._vms[vm.allocation.label]

    def wanted(self) -> Mapping[str, int]:
        """Return how many spares of each label there are to be at this moment."""
        config, minute = self._config(), int(self._reactor.seconds() // 60)
        before = self._wanted_at
        if before is None or before[0] != minute or before[1] is not config:
            now = datetime.fromtimestamp(self._reactor.seconds(), UTC)
            labels = config.labels.items()
            self._wanted = {name: label.spares.wanted(now) for name, label in labels}
            self._wanted_at = minute, config
        return self._wanted

    def _why_unwanted(self, vm: VM) -> str:
        config = self._config()
        label = config.labels.get(vm.allocation.label)
        if label is None:
            return "its label is not configured any more"
        if vm.machine.record.spec_hash != self._configured.spec_hashes[vm.allocation.label]:
            return "its label has changed"
        if self._capacity.is_allocation_drained(vm.allocation):
            return "its host or label is drained"
        if not self._configured.may_use(vm.allocation.label, vm.host.name):
            return "its label has left the host"
        return f"it is {vm.age:.0f} s old" if vm.age > label.spare_max_age else ""

    def _start_one(self, label: str, wanted: int) -> bool:
        if len(self._vms[label]) >= wanted:
            return False
        if self._missing_images.is_everywhere(label):
            self._forget_losses(label)  # the first one starts as soon as the image is there
            return False
        if self._rest_until.get(label, 0.0) > passed(self._reactor):
            return False
        allocation = self._capacity.take(label)
        if allocation is None:
            return False
        vm = self._registry.add(allocation)
        self._vms[label].append(vm)
        self._start(vm)
        return True

    def _forget_losses(self, label: str) -> None:
        """Forget why spares of *label* were lost."""
        self._failures.pop(label, None)
        self._rest_until.pop(label, None)

    def _start(self, vm: VM) -> None:
        started = self._registry.start(vm).wait()
        started.addCallback(self._is_up, vm)
        started.addErrback(self._is_lost, vm)

    def _is_up(self, _result: object, vm: VM) -> None:
        self._failures.pop(vm.allocation.label, None)
        vm.machine.guest.expect().addErrback(self._is_lost, vm)
        if self._is_on_shelf(vm):
            rehearsing = Deferred.fromCoroutine(vm.machine.rehearse())
            rehearsing.addErrback(self._is_lost, vm)

    def _is_lost(self, failure: Failure, vm: VM) -> None:
        """Give up a spare that did not come up, or has died, unless a job has it by now."""
        if not self._is_on_shelf(vm):
            return
        if not vm.is_ended_by_operator:
            self._rest(failure, vm)
        self._drop_in_background(vm)

    def _rest(self, failure: Failure, vm: VM) -> None:
        """Let the label of *vm*, which is lost, have no other spare for a while."""
        if not isinstance(failure.value, LatentLibvirtError):
            log.failure("spare {vm}", failure, vm=str(vm))
        label = vm.allocation.label
        failures = self._failures[label] = self._failures.get(label, 0) + 1
        rest = BACKOFF.after(failures)
        self._rest_until[label] = passed(self._reactor) + rest
        log.warn(
            "spare {vm} of label {label} is lost, the next one starts in {rest} s: {error}",
            vm=str(vm),
            label=label,
            rest=rest,
            error=failure.getErrorMessage(),
        )

    def _drop_in_background(self, vm: VM) -> None:
        in_background(self.drop(vm), f"spare {vm}")

    def labels_with_images(self) -> dict[Host, set[str]]:
        """Return the labels of which spares wait, by host."""
        labels: dict[Host, set[str]] = defaultdict(set)
        for vm in self:
            if vm.is_waiting:
                labels[vm.host].add(vm.allocation.label)
        return labels

    def note_image(self, host: Host, label: str, digests: Collection[str]) -> None:
        """End the spares of *label* on *host* that have another base image than *digests*."""
        for vm in [vm for vm in self._vms[label] if vm.host is host and vm.is_waiting]:
            if vm.machine.image_digest not in digests:
                log.info("spare {vm} ends: new VMs take another image", vm=str(vm))
                self._drop_in_background(vm)

    # From one master to the next.

    def adopt(self, host: str, slot: int, record: VmRecord) -> bool:
        """Go on with a spare that an earlier master has left, and return whether it is wanted."""
        wanted = self.wanted().get(record.label, 0)
        if len(self._vms[record.label]) >= wanted:
            return False
        if record.spec_hash != self._configured.spec_hashes[record.label]:
            return False
        allocation = self._capacity.take_slot(record.label, host, slot)
        if allocation is None:
            return False
        vm = self._registry.adopt(allocation, record)
        self._vms[record.label].append(vm)
        self._start(vm)
        log.info("spare {vm} is adopted", vm=str(vm))
        return True

    async def leave_running(self) -> None:
        """Leave all spares to the next master."""
        vms, self._vms = list(self), defaultdict(list)
        going = [self._registry.leave_running(vm) for vm in vms if vm.machine.booted]
        going += [self._registry.discard(vm) for vm in vms if not vm.machine.booted]
        await gatherResults(going, consumeErrors=True)

    async def end(self) -> None:
        """End all spares."""
        vms, self._vms = list(self), defaultdict(list)
        await gatherResults([self._registry.discard(vm) for vm in vms], consumeErrors=True)


def _evictable(spares: Spares, vm: VM) -> Evictable:
    return Evictable(vm.allocation, f"spare {vm}", lambda: spares.drop(vm))
