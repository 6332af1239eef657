# SPDX-License-Identifier: GPL-2.0-only
"""Operations on a running pool: what an operator may ask for over its control socket."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from latent_libvirt.config.units import format_duration
from latent_libvirt.control import vms
from latent_libvirt.control.console import Vm
from latent_libvirt.control.messages import ControlError
from latent_libvirt.control.pictures import Pictures
from latent_libvirt.control.vms import Other
from latent_libvirt.deferreds import in_background
from latent_libvirt.pool import report
from latent_libvirt.pool.holding import asked
from latent_libvirt.pool.holding.holds import in_words
from latent_libvirt.pool.holding.thawing.conditions import ONLY_THERE
from latent_libvirt.status.answers import Exportable, Thawed, WillBeHeld
from latent_libvirt.status.names import VmNames
from latent_libvirt.status.pool import PoolStatus
from latent_libvirt.status.usage import UsageReport

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.control.messages import UsageRequest
    from latent_libvirt.pool.holding.frozen import Frozen
    from latent_libvirt.pool.holding.holds import Hold
    from latent_libvirt.pool.lease import Lease
    from latent_libvirt.pool.vm import VM
    from latent_libvirt.pool.vm_pool import VmPool
    from latent_libvirt.status.answers import HostSweep
    from latent_libvirt.status.names import BuildRef, Target
    from latent_libvirt.status.past import SlotUse
    from latent_libvirt.status.queue import QueueStatus, WaitingStatus

log = Logger()

_ANY: Final = "somebody"
"""The user who asks, where nobody says who that is."""

_MOST_EXPORTS: Final = 100
"""Exports of which nobody has said yet what came of them."""


@dataclass(frozen=True)
class Facts:
    """Parts of a :class:`~latent_libvirt.status.pool.PoolStatus` that only the master knows."""

    master: str
    refused: str
    generation: int
    loaded_at: float
    waiting: tuple[QueueStatus, ...] | None = None
    explained: tuple[WaitingStatus, ...] = ()
    changed: tuple[str, ...] = ()
    changed_at: float = 0.0


async def nothing_used(_request: UsageRequest) -> UsageReport:
    """Return what builds have used where nobody stores it."""
    return UsageReport((), ())


def _note_nowhere(_facts: dict[str, Any], _outcome: str) -> None:
    """Note nothing."""


class Operations:
    """Operations on *pool*.

    :param facts: returns what only the master knows.
    :param undrained: called with what is in use again.
    :param usage: returns what builds have used.
    :param recorded: called with the recording of a terminal, and the build that its VM was for.
    :param audit: notes what somebody has asked for, and the outcome.
    """

    def __init__(  # noqa: PLR0913 - what only the master can do
        self,
        pool: VmPool,
        *,
        facts: Callable[[], Facts],
        undrained: Callable[[Target], None],
        usage: Callable[[UsageRequest], Awaitable[UsageReport]] = nothing_used,
        recorded: Callable[[BuildRef, bytes], None] = lambda _build, _recording: None,
        audit: Callable[[dict[str, Any], str], None] = _note_nowhere,
    ) -> None:
        self._pool = pool
        self._facts = facts
        self._undrained = undrained
        self._audit = audit
        self.usage = usage
        """Returns what builds have used."""
        self._recorded = recorded
        self._pictures = Pictures()
        self._exports: dict[str, tuple[dict[str, str], str]] = {}

    @property
    def config(self) -> PoolConfig:
        """What is configured."""
        return self._pool.config

    def status(self) -> PoolStatus:
        """Return what there is at this moment."""
        pool = self._pool
        return PoolStatus(
            name=pool.name,
            max_vms=pool.config.master.max_vms,
            used=len(pool.capacity.taken),
            hosts=report.hosts(
                pool.config,
                pool.capacity,
                pool.hosts,
                pool.host_backoff.hosts(),
                pool.state_saver.resumable(),
            ),
            labels=report.labels(
                pool.config,
                pool.capacity,
                pool.unfit_or_without_image(),
                image=pool.canaries.status,
            ),
            leases=report.leases(pool.leases.values()),
            spares=report.spares(pool.spares),
            held=report.held(pool.holds),
            frozen=report.frozen(pool.frozen, pool.thaws, pool.frozen_notes, pool.now),
            saving=report.spares(pool.state_saver),
            failures=pool.history.failures,
            **vars(self._facts()),
        )

    def export(self, name: str, user: str) -> Exportable:
        """Return what *user* needs to pack a frozen VM; the audit log has it.

        :raises ControlError: if there is no such VM, or its label does not allow it.
        """
        frozen = self._find_frozen(name)
        vm, host = frozen.frozen.vm, frozen.frozen.host
        label = self.config.labels.get(vm.record.label)
        facts = {"user": user, "command": "export", "name": vm.vm_id}
        number = secrets.token_hex(8)
        if label is None or not label.export:
            self._audit(facts, "refused")
            raise ControlError(
                f"VMs of label {vm.record.label!r} may not be exported",
                resolution=f"Set labels.{vm.record.label}.export to true in the pool's YAML file.",
            )
        self._audit(facts, "allowed")
        names = str(frozen.names)
        log.info("VM {vm} is exported for {user}", vm=names, user=user)
        self._exports[number] = (facts, names)
        if len(self._exports) > _MOST_EXPORTS:
            del self._exports[next(iter(self._exports))]
        return Exportable(names, host.config.uri, host.storage_pool, vm.name.state, number)

    def exported(self, number: str, *, is_done: bool) -> str:
        """Let the audit log have what came of an export; return of which VM it was.

        :param number: by which the export is known.
        :raises ControlError: if it is not known, as after a restart of the master.
        """
        export = self._exports.pop(number, None)
        if export is None:
            raise ControlError("the master does not know of the export any more")
        facts, names = export
        self._audit(facts, "done" if is_done else "failed")
        return names

    def slot_uses(self) -> tuple[SlotUse, ...]:
        """Return what was in each slot in the last hour, and what is."""
        return tuple(self._pool.history.uses(self._pool.registry))

    def drain(self, target: Target) -> None:
        """Start nothing new there, until :meth:`undrain` or the end of this process."""
        log.info("pool {pool}: {target} is drained", pool=self._pool.name, target=str(target))
        self._pool.capacity.drained |= {target}
        self._pool.room_changed()

    def undrain(self, target: Target) -> None:
        """Start VMs there again, also if it or workers are in back-off after failed starts."""
        log.info("pool {pool}: {target} is in use again", pool=self._pool.name, target=str(target))
        self._pool.capacity.drained -= {target}
        if target.kind == "host":
            self._pool.host_backoff.forgive(target.name)
        self._pool.hosts_changed()
        self._undrained(target)

    async def sweep(self, *, dry_run: bool) -> tuple[HostSweep, ...]:
        """Sweep all hosts now; return what of each was freed.

        :param dry_run: free nothing; return what would be.
        """
        return await self._pool.hosts.sweep(dry_run=dry_run)

    async def refresh(self) -> str:
        """Look at all hosts and images now; return in words what was looked at.

        What has been left behind goes, slots that are free again are used, and spares and saved
        states of images that have changed go.
        """
        log.info("pool {pool}: all hosts are looked at", pool=self._pool.name)
        swept = await self.sweep(dry_run=False)
        await self._pool.image_check.run()
        self._pool.hosts_changed()
        hosts = f"{len(swept)} host{'' if len(swept) == 1 else 's'}"
        return "; ".join([hosts, *(each.trouble for each in swept if each.trouble)])

    def vms(self) -> tuple[Vm, ...]:
        """Return all VMs there are, with the names that an operator may use."""
        return tuple(Vm(each.names, each.vm.machine, self._recorder(each)) for each in self._all())

    def vm(self, name: str) -> Vm:
        """Return the VM of that name, which runs.

        :raises ControlError: if there is no such VM, or several, or it does not run.
        """
        return vms.find(self.vms(), name, self._others())

    async def picture(self, name: str) -> bytes:
        """Return what the VM of that name shows on its screen, as PNG.

        :raises LatentLibvirtError: if there is no such VM, or it has no screen.
        """
        found = vms.find(self._all(), name, self._others())
        if not found.vm.label.graphics:
            raise ControlError(
                f"VM {found.names} has no screen",
                resolution="Set graphics of its label to true in the pool's YAML file.",
            )
        return await self._pictures.of(found.vm)

    def _recorder(self, registered: _Registered) -> Callable[[bytes], None] | None:
        build = registered.names.job
        if build is None or not registered.vm.label.record_terminals:
            return None
        return partial(self._recorded, build)

    def _all(self) -> Iterator[_Registered]:
        pool = self._pool
        jobs = {lease.vm: (lease.worker, lease.job) for lease in pool.leases.values()}
        jobs |= {hold.vm: (hold.worker, hold.job) for hold in pool.holds}
        for vm in pool.registry:
            yield _Registered(vm, _names(vm, *jobs.get(vm, ("", None))))

    def _others(self) -> Iterator[Other]:
        """Yield all VMs there are, for commands that are for some of them.

        A name that stands for several is refused: the operator may mean any of them.
        """
        yield from self._building()
        yield from self._held()
        yield from self._frozen()
        yield from self._out_of_reach()
        yield from self._without_a_job()

    def _frozen(self) -> list[Other]:
        remedy = "'latent-libvirt thaw' continues it, and 'latent-libvirt release' deletes it."
        frozen = map(_Frozen, self._pool.frozen)
        return [Other(each.names, "is frozen", remedy) for each in frozen]

    def _held(self) -> list[Other]:
        remedy = (
            "'latent-libvirt shell' and 'latent-libvirt console' open it. 'latent-libvirt release' "
            "deletes it."
        )
        held = map(_Held, self._pool.holds)
        return [Other(each.names, "is held, and runs", remedy) for each in held]

    def _building(self) -> Iterator[Other]:
        for each in map(_Leased, self._pool.leases.values()):
            if each.lease.hold_for is None:
                state, hold = "runs for a job", "'latent-libvirt hold' keeps it after its job"
            else:
                state = "runs for a job, and will be held after it"
                hold = "'latent-libvirt hold NAME --cancel' takes the hold back"
            yield Other(each.names, state, f"{hold}, and 'latent-libvirt end' ends it.")

    def _out_of_reach(self) -> Iterator[Other]:
        """Yield the frozen VMs that status shows, and that cannot be had."""
        for each in self._pool.frozen_notes.out_of_reach():
            note = each.note
            names = VmNames(note.domain, note.host, note.vm_id, note.worker, note.job)
            yield Other(names, "cannot be reached", each.remedy, each.why)

    def _without_a_job(self) -> Iterator[Other]:
        for each in self._all():
            yield Other(each.names, "has no job", "'latent-libvirt end' ends it.")

    async def hold(self, name: str, seconds: float, user: str = "") -> WillBeHeld:
        """Hold the VM of that name once its job has ended, or longer if it is held already.

        :param seconds: for how long, from the end of its job; from now if that has ended.
        :param user: who asks, empty if that is not known.
        :raises ControlError: if no job has such a VM, or the VM is about to go, or is held for
            longer already.
        """
        leased = map(_Leased, self._pool.leases.values())
        there: list[_Leased | _Held] = [*leased, *map(_Held, self._pool.holds)]
        found = vms.find(there, name, self._others())
        if isinstance(found, _Held):
            return await self._prolong(found, seconds, user)
        return await self._hold(found, seconds, user)

    async def _prolong(self, found: _Held, seconds: float, user: str) -> WillBeHeld:
        hold = found.hold
        _refuse_to_prolong(found, seconds, is_freezing=self._pool.freezer.is_freezing(hold))
        log.info("VM {vm} is to be held longer for {user}", vm=str(found.names), user=user or _ANY)
        await self._pool.holds.prolong(hold, seconds)
        if self._pool.holds.of(hold.vm) is not hold:
            raise ControlError(
                f"VM {found.names} is not held any more",
                resolution="'latent-libvirt status' shows what has become of it.",
            )
        return WillBeHeld(found.names, in_words(hold.until, self._pool.now))

    async def _hold(self, found: _Leased, seconds: float, user: str) -> WillBeHeld:
        lease = found.lease
        if lease.released or lease.vm.ending is not None:
            raise ControlError(
                f"VM {found.names} cannot be held any more",
                details="Its job has ended, or the VM was lost.",
                resolution="'latent-libvirt status' shows what has become of it.",
            )
        log.info("VM {vm} is to be held for {user}", vm=str(found.names), user=user or _ANY)
        lease.ask_hold(seconds, user)
        if lease.idle is not None:
            in_background(lease.idle.end(), "hold")
        else:
            await asked.record(lease)
        return WillBeHeld(found.names)

    async def cancel_hold(self, name: str) -> VmNames:
        """Do not hold the VM of that name once its job has ended; return what it is called.

        :raises ControlError: if no job has such a VM, or nobody has asked to hold it, or its job
            has ended.
        """
        found = self._find_leased(name)
        lease = found.lease
        if lease.hold_for is None:
            raise ControlError(
                f"VM {found.names} is not to be held",
                details="Nobody has asked for that.",
                resolution="'latent-libvirt status' shows the VMs that will be held.",
            )
        if lease.released or lease.idle is not None:
            raise ControlError(
                f"the job of VM {found.names} has ended, and the VM is about to be held",
                resolution="'latent-libvirt release' deletes it then.",
            )
        log.info("VM {vm} is not to be held any more", vm=str(found.names))
        lease.drop_hold()
        await asked.record(lease)
        return found.names

    def _find_leased(self, name: str) -> _Leased:
        return vms.find(map(_Leased, self._pool.leases.values()), name, self._others())

    async def release(self, name: str) -> VmNames:
        """End a VM that is held or frozen; return what it was called when nothing of it is left.

        :raises ControlError: if no such VM is held or frozen.
        """
        pool = self._pool
        kept: list[_Held | _Frozen] = [*map(_Held, pool.holds), *map(_Frozen, pool.frozen)]
        found = vms.find(kept, name, self._others())
        log.info("VM {vm} is released", vm=str(found.names))
        if isinstance(found, _Held):
            await pool.holds.release(found.hold)
        else:
            await pool.thaws.release(found.frozen)
        return found.names

    def _find_frozen(self, name: str, *, advice: str = "") -> _Frozen:
        """Return the frozen VM of that name.

        :param advice: what else to do about one that cannot be reached.
        :raises ControlError: if there is no such VM, or it cannot be had.
        """
        out_of_reach = (
            replace(each, remedy=f"{each.remedy} {advice}".strip()) for each in self._out_of_reach()
        )
        others = (*out_of_reach, *self._others())
        return vms.find(map(_Frozen, self._pool.frozen), name, others)

    async def thaw(self, name: str, seconds: float | None, host: str | None = None) -> Thawed:
        """Let a frozen VM go on; return what became of it.

        :param seconds: for how long it is held then; ``None``: until its deadline.
        :param host: the name of the host, which is configured, on which it is to go on; ``None``:
            on its own.
        :raises LatentLibvirtError: if there is no such VM, or it cannot be thawed.
        """
        found = self._find_frozen(name, advice="" if host is None else ONLY_THERE)
        log.info("frozen VM {vm} is to be thawed", vm=str(found.names))
        target = None if host is None else self._pool.hosts[host]
        hold = await self._pool.thaws.thaw(found.frozen, seconds, host=target)
        other = "" if host in (None, found.frozen.host.name) else str(host)
        why = self._pool.thaws.waits_for(found.frozen)
        return Thawed(str(found.names), is_waiting=hold is None, host=other, waits_for=why)

    def cancel_thaw(self, name: str) -> VmNames:
        """Let a frozen VM that waits to be thawed stay frozen; return what it is called.

        :raises ControlError: if there is no such VM, or it does not wait.
        """
        found = self._find_frozen(name)
        if not self._pool.thaws.cancel(found.frozen):
            raise ControlError(
                f"frozen VM {found.names} does not wait to be thawed",
                resolution="'latent-libvirt status' shows those that do. 'latent-libvirt release' "
                "ends one that is being thawed.",
            )
        return found.names

    async def end(self, name: str) -> VmNames:
        """End a VM, whatever it does; return what it was called when nothing of it is left.

        A build in it has lost its VM then, and gets another one. That does not count against it.

        :raises ControlError: if there is no such VM.
        """
        found = vms.find(self._all(), name, self._others())
        log.info("VM {vm} is ended by an operator", vm=str(found.names))
        found.vm.is_ended_by_operator = True
        # Before libvirt says that somebody has destroyed its domain.
        found.vm.machine.guest.ended("an operator has ended it", at_once=True)
        await self._ended(found.vm)
        return found.names

    async def _ended(self, vm: VM) -> None:
        pool = self._pool
        hold = next((hold for hold in pool.holds if hold.vm is vm), None)
        if hold is not None:
            await pool.holds.release(hold)
        elif vm in pool.spares:
            await pool.spares.drop(vm)
        else:
            await pool.registry.discard(vm)


@dataclass(frozen=True)
class _Registered:
    vm: VM
    names: VmNames


@dataclass(frozen=True)
class _Leased:
    lease: Lease

    @property
    def names(self) -> VmNames:
        return _names(self.lease.vm, self.lease.worker, self.lease.job)


@dataclass(frozen=True)
class _Held:
    hold: Hold

    @property
    def names(self) -> VmNames:
        return _names(self.hold.vm, self.hold.worker, self.hold.job)


@dataclass(frozen=True)
class _Frozen:
    frozen: Frozen

    @property
    def names(self) -> VmNames:
        vm, host = self.frozen.vm, self.frozen.host.name
        return VmNames(vm.domain, host, vm.vm_id, vm.record.worker, self.frozen.job)


def _refuse_to_prolong(found: _Held, seconds: float, *, is_freezing: bool) -> None:
    """Refuse a hold that would be shorter, or of a VM that leaves its slot.

    :raises ControlError: if it is one.
    """
    if is_freezing:
        raise ControlError(
            f"VM {found.names} is being frozen",
            resolution="'latent-libvirt thaw NAME --for' continues it, and holds it for that long.",
        )
    if seconds <= found.hold.seconds_left:
        left = format_duration(float(int(found.hold.seconds_left)))
        raise ControlError(
            f"VM {found.names} is held for longer already, for {left} more",
            resolution="Ask for more than that with --for. 'latent-libvirt release' deletes it.",
        )


def _names(vm: VM, worker: str, job: BuildRef | None) -> VmNames:
    return VmNames(
        domain=vm.machine.name, host=vm.host.name, vm_id=vm.vm_id, worker=worker, job=job
    )
