# SPDX-License-Identifier: GPL-2.0-only
"""Leases of all workers: each is given, brought up and released here.

A VM that does not come up is replaced, on another host if there is one, before the build hears of
it: until the worker has attached, nothing of the build has happened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from latent_libvirt.backoff import Backoff
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import (
    CapacityError,
    ConfigurationError,
    GivenUpError,
    LatentLibvirtError,
)
from latent_libvirt.guest.protocol import Identity
from latent_libvirt.pool.allocator import (
    Evictable,
    Grant,
)
from latent_libvirt.pool.holding import asked
from latent_libvirt.pool.lease import (
    Lease,
)
from latent_libvirt.pool.vm import VM

if TYPE_CHECKING:
    from latent_libvirt.pool.allocator import (
        Allocator,
    )
    from latent_libvirt.pool.holding.holds import Holds
    from latent_libvirt.pool.lease import (
        LeaseReport,
    )
    from latent_libvirt.pool.records.attempts import Attempts
    from latent_libvirt.pool.vms import VmRegistry

log = Logger()

INSTANT = 5.0
"""Seconds: a VM that was lost sooner has failed for a reason that is still there."""

BACKOFF = Backoff(first=1.0, longest=10.0)
"""Before the next attempt on a host that has just failed at once."""

Identify = Callable[[VM], Awaitable[Identity]]
"""Returns who a VM that waits is to be; called again for each VM."""

MakeVM = Callable[[Grant, str], VM]
"""Registers a VM in that room, for the worker of that name."""

HoldLost = Callable[[VM, str, str], None]
"""Notes that a VM goes that an operator wanted to be held, with who asked for that, and why."""


class Leases(Mapping[str, Lease]):
    """The leases of a pool, by worker."""

    def __init__(  # noqa: PLR0913 - all that a VM for a worker goes through
        self,
        registry: VmRegistry,
        allocator: Allocator,
        holds: Holds,
        *,
        attempts: Attempts,
        make_vm: MakeVM,
        hold_lost: HoldLost,
    ) -> None:
        self._registry = registry
        self._allocator = allocator
        self._holds = holds
        self._attempts = attempts
        self._make_vm = make_vm
        self._hold_lost = hold_lost
        self._leases: dict[str, Lease] = {}

    def __getitem__(self, worker: str) -> Lease:
        return self._leases[worker]

    def __iter__(self) -> Iterator[str]:
        return iter(self._leases)

    def __len__(self) -> int:
        return len(self._leases)

    def builders(self) -> list[str]:
        """Return the builder of each VM that has a job."""
        return [lease.job.builder for lease in self.values() if lease.job is not None]

    def evictable(self, now: float) -> list[Evictable]:
        """Return the VMs that wait for another build, which is not on its way."""
        return [
            Evictable(lease.vm.allocation, f"idle VM {lease}", lease.idle.end)
            for lease in self.values()
            if lease.idle is not None and lease.idle.promised_until <= now
        ]

    def give(self, worker: str, grant: Grant, requests: tuple[int, ...]) -> Lease:
        """Give *worker* the VM that there is, or will be, in *grant*."""
        lease = Lease(worker, self._make_vm(grant, worker), grant.way, requests)
        self._leases[worker] = lease
        return lease

    async def bring_up(self, lease: Lease, identify: Identify) -> None:
        """Bring the VM of *lease* up, or another one, and return when its worker has attached.

        :raises ConfigurationError: if trying again cannot help, or was tried often enough.
        :raises LatentLibvirtError: if there is no room to try again now.
        """
        while True:
            try:
                return await self._try(lease, identify)
            except CancelledError:
                raise
            except LatentLibvirtError as error:
                await self._replace(lease, error)
            except Exception as error:  # noqa: BLE001 - a defect is not to be retried for ever
                log.failure("{lease}: unexpected", lease=str(lease))
                what = LatentLibvirtError("a VM could not be started", details=repr(error))
                self._registry.note_unexpected(lease.vm, what)
                await self._replace(lease, what)

    async def _try(self, lease: Lease, identify: Identify) -> None:
        vm = lease.vm
        await self._registry.start(vm).wait()
        try:
            await lease.introduce(await identify(vm))
        except LatentLibvirtError as error:
            self._registry.note_failure(vm, error)
            raise
        if lease.is_hold_asked:  # perhaps before there was a domain to record that
            await asked.record(lease)

    async def _replace(self, lease: Lease, error: LatentLibvirtError) -> None:
        """Give *lease* another VM than the one that failed with *error*.

        :raises LatentLibvirtError: *error*, if there is none.
        """
        lease.failure = error.brief
        if _is_loss_of_job(lease, error):
            self._count_against_job(lease, error)
        lease.lost.append(lease.vm)
        lease.reasons.append(error.brief)
        instant = lease.vm.timeline.age < INSTANT
        grant = await self._other_grant(lease, error)
        log.warn("{lease} is given up, the job gets another: {e}", lease=str(lease), e=str(error))
        self._lose_hold(lease, f"the job gets another VM, since this one has failed: {error.brief}")
        lease.use(self._make_vm(grant, lease.worker), grant.way)
        lease.failure = ""
        if instant and self._would_fail_again(lease, grant, error):
            await deferLater(lease.vm.host.reactor, BACKOFF.after(len(lease.lost)), lambda: None)

    def _would_fail_again(self, lease: Lease, grant: Grant, error: LatentLibvirtError) -> bool:
        """Whether it is too soon for *grant*: what was wrong there a moment ago still is."""
        if isinstance(error, CapacityError) and len(lease.lost) == 1:
            return False  # another slot is free now
        return grant.allocation.host in {vm.host.name for vm in lease.lost}

    def _count_against_job(self, lease: Lease, error: LatentLibvirtError) -> None:
        self._attempts.note_failure(lease.requests, error.brief)
        try:
            self._attempts.check(lease.requests, allowed=lease.label.launch_attempts)
        except ConfigurationError as given_up:
            details = (error.details, error.resolution, given_up.brief, given_up.details)
            raise GivenUpError(
                error.brief,
                details="\n".join(part for part in details if part),
                resolution=given_up.resolution,
                gist=error.gist,
            ) from error

    async def _other_grant(self, lease: Lease, error: LatentLibvirtError) -> Grant:
        tried = {vm.host.name for vm in lease.lost}
        slots = {(vm.host.name, vm.allocation.slot) for vm in lease.lost}
        size = lease.chosen_size
        grant = self._allocator.take(lease.label_name, tried, slots, size)
        if grant is None:
            await self._registry.discard(lease.vm)
            grant = self._allocator.take(lease.label_name, tried, slots, size)
        else:
            in_background(self._registry.discard(lease.vm), str(lease.vm))
        if grant is None:
            raise error
        if isinstance(error, ConfigurationError) and grant.allocation.host in tried:
            self._allocator.give_back(grant)
            raise error
        return grant

    async def release(self, lease: Lease, *, graceful: bool) -> LeaseReport:
        """Take the VM of *lease* back: it is held, or nothing of it remains.

        :param graceful: let the guest shut down first, if its label asks for that.
        """
        lease.released = True
        lease.timeline.enter("tear-down")
        try:
            if not await self._held(lease):
                await self._end(lease, graceful=graceful)
        finally:
            del self._leases[lease.worker]
        lease.timeline.finish()
        log.info("{lease} for {worker}: {timeline}", **_log_fields(lease))
        return lease.report()

    async def _end(self, lease: Lease, *, graceful: bool) -> None:
        try:
            if graceful and lease.label.shutdown == "graceful":
                await lease.shut_down()
        finally:
            await self._registry.discard(lease.vm)

    async def _held(self, lease: Lease) -> bool:
        if lease.hold_for is None:
            return False
        why = await self._why_not_held(lease, lease.hold_for)
        if why:
            self._lose_hold(lease, why)
        return not why

    async def _why_not_held(self, lease: Lease, seconds: float) -> str:
        """Hold the VM of *lease*; return why it is not, or nothing."""
        if lease.vm.ending is not None:
            return lease.failure or "the VM was ended"
        if not lease.vm.is_waiting:
            return "the VM was not up yet when its job ended"
        try:
            await self._holds.keep(lease.vm, seconds, lease.job)
        except LatentLibvirtError as error:
            log.warn("{lease} cannot be held: {error}", lease=str(lease), error=str(error))
            return error.brief
        except Exception:  # noqa: BLE001 - a defect is not to leave a VM that nobody has
            log.failure("{lease} cannot be held", lease=str(lease))
            return "latent_libvirt has failed, see the master's twistd.log"
        return ""

    def _lose_hold(self, lease: Lease, why: str) -> None:
        """Note that the VM of *lease* goes, if an operator wanted it to be held."""
        if not lease.is_hold_asked:
            return
        user = lease.hold_asked_by
        lost = f"the hold of {lease} that {user or 'somebody'} has asked for is lost: {why}"
        log.warn("{lost}", lost=lost)
        lease.why_not_held = lost
        lease.drop_hold()
        self._hold_lost(lease.vm, user, why)


def _log_fields(lease: Lease) -> dict[str, str]:
    phases = lease.report().phases
    timeline = ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in phases.items())
    return {"lease": str(lease), "worker": lease.worker, "timeline": timeline}


def _is_loss_of_job(lease: Lease, error: LatentLibvirtError) -> bool:
    """Whether *error* counts against the job.

    A spare that has died unnoticed, a slot that another master was quicker to take, and an operator
    who has ended the VM say nothing against it.
    """
    if lease.way != "cold" or lease.vm.is_ended_by_operator:
        return False
    return not isinstance(error, CapacityError | ConfigurationError)
