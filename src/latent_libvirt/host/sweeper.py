# SPDX-License-Identifier: GPL-2.0-only
"""The sweeps of one host: when they are made, and what the host learns from each.

What is there, and what frees it, is in ``sweep.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import HostError, LatentLibvirtError
from latent_libvirt.host import sweep
from latent_libvirt.host.libvirtd.answers import printable
from latent_libvirt.host.meters import usage
from latent_libvirt.host.states import frozen_io
from latent_libvirt.host.taken_slots import TakenSlots
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.host import names
    from latent_libvirt.host.context import PoolContext
    from latent_libvirt.host.domains.machine import Machine
    from latent_libvirt.host.domains.slot_domains import SlotDomain
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.states.frozen import Found
    from latent_libvirt.host.sweep import Leftovers

log = Logger()

INTERVAL = 60.0
"""Seconds between sweeps; one also follows every (re)connection and every failed tear-down."""

_AGAIN_AFTER = 5.0


class Sweeper:
    """What frees on one host all that belongs to its owner and to no live VM.

    :param own: the VMs that live on the host, by id.
    """

    def __init__(self, host: Host, context: PoolContext, own: Mapping[str, Machine]) -> None:
        self.slots = TakenSlots(host.name)
        self.is_done = False
        """Whether the host was swept since it was connected."""
        self.is_shared = False
        """Whether another owner had VMs or volumes there at the last sweep."""
        self.trouble = ""
        """Why the last sweep failed; empty if it did not."""
        self._host = host
        self._context = context
        self._own = own
        self._given_up: set[str] = set()
        self._losses = 0
        self._lock = DeferredLock()
        self._is_due = False
        self._next: Any = None
        self._timer = LoopingCall(self.soon)
        self._timer.clock = context.reactor

    # When.

    def start(self) -> None:
        """Sweep from time to time, in the background."""
        self._timer.start(INTERVAL, now=False)

    async def stop(self) -> None:
        """Sweep for the last time."""
        if self._timer.running:
            self._timer.stop()
        await self._at_last()
        if self._next is not None and self._next.active():
            self._next.cancel()

    def soon(self) -> None:
        """Sweep in the background, unless there is no connection or a sweep is about to begin."""
        if self._host.connection.is_up and not self._is_due:
            self._is_due = True
            in_background(self._sweep(), f"host {self._host.name}: sweep")

    def later(self) -> None:
        """Sweep after a while."""
        if self._next is None or not self._next.active():
            self._next = self._context.reactor.callLater(_AGAIN_AFTER, self.soon)

    # What it hears of.

    def connection_is_lost(self) -> None:
        """Note that nobody knows any more what is there."""
        self.is_done = False
        self._losses += 1
        self.trouble = ""

    def block(self, slot: int) -> None:
        """Note that somebody has taken *slot*."""
        self.slots.add(slot)
        self._context.changed()

    def give_up(self, machine: Machine) -> None:
        """Free what a VM has left that could not be destroyed."""
        self._given_up.add(machine.record.vm_id)
        self.block(machine.plan.slot)
        self.later()

    # What it does.

    async def _sweep(self) -> None:
        with contextlib.suppress(LatentLibvirtError):  # it is the host's trouble now
            await self.free_leftovers()

    async def free_leftovers(self) -> Leftovers:
        """Free what belongs to this owner and to no live VM; return what that was.

        :raises LatentLibvirtError: which is the host's trouble from now on.
        """
        async with self._lock:
            self._is_due = False
            try:
                return await self._survey_and_free()
            except LatentLibvirtError as error:
                self._has_failed(error)
                raise
            except CancelledError:
                raise
            except Exception as error:
                log.failure("host {host}: sweep", host=self._host.name)
                name = self._host.name
                trouble = HostError(f"host {name} could not be swept", details=repr(error))
                self._has_failed(trouble)
                raise trouble from error
            finally:
                self._context.changed()

    def _has_failed(self, error: LatentLibvirtError) -> None:
        self.is_done = False
        trouble = str(error)
        if trouble != self.trouble:
            self.trouble = trouble
            log.error("host {host} is not usable: {why}", host=self._host.name, why=trouble)
        self.later()

    async def leftovers(self) -> Leftovers:
        """Return what :meth:`free_leftovers` would free now, and leave it there.

        :raises LatentLibvirtError: if the host cannot be asked.
        """
        async with self._lock:
            return await self._left_behind(await self._survey())

    async def _survey(self) -> sweep.Survey:
        what, pool = "list its domains", self._host.storage_pool
        return await self._host.connection.call("survey", what, sweep.survey, pool)

    async def _survey_and_free(self) -> Leftovers:
        host, losses = self._host, self._losses
        saved_before, frozen_before = host.saved.states.vm_ids, host.frozen.settled
        cut_off = [machine for machine in self._own.values() if machine.is_cut_off]
        seen = await self._survey()
        await host.get_to_know(seen.host_uuid)
        # First: the disks of frozen VMs may need what is saved.
        await self._compare_frozen(seen, frozen_before)
        await host.saved.compare(seen, saved_before, self._context.machines)
        self._listen_again(cut_off, seen)
        self._given_up &= seen.vm_ids()
        adopted = self._adopt_from(seen)
        self.slots.note(seen, self._own)
        self._note_others(seen)
        # Those that are to be held have served a build that nobody has charged.
        await self._read_abandoned(adopted)
        leftovers = await self._left_behind(seen)
        if leftovers:
            log.warn("host {host}: freeing {what}", host=host.name, what=str(leftovers))
            stuck = await self._free(leftovers)
            gone = set(leftovers.domains) - set(stuck.things.domains)
            self.slots.remove({domain.slot for domain in gone})
        # A sweep that a loss of the connection has overtaken does not stand for the one after it.
        self.is_done = self._losses == losses
        self.trouble = ""
        return leftovers

    async def _free(self, leftovers: Leftovers) -> sweep.Stuck:
        """Free *leftovers*; what stays keeps its slot, and the next sweep tries again."""
        host, pool = self._host, self._host.storage_pool
        _log_lost_holds(host.name, leftovers)
        await self._read_abandoned(leftovers)
        stuck = await host.connection.call("free", "free leftovers", sweep.free, pool, leftovers)
        if stuck:
            log.warn("host {host}: {stuck}", host=host.name, stuck=str(stuck))
        for kind, count in (leftovers.counts() - stuck.things.counts()).items():
            self._context.events.leaks_freed(host.name, kind, count)
        return stuck

    async def _read_abandoned(self, there: Leftovers) -> None:
        """Read what VMs have used that served builds, and that nobody has read since."""
        records = {
            domain.name: domain.record
            for domain in there.domains
            if domain.record is not None and domain.record.state == "job" and domain.record.worker
        }
        if not records:
            return
        found: Mapping[tuple[str, int], usage.Reading] = {}
        with contextlib.suppress(LatentLibvirtError):  # they go all the same
            clock = partial(passed, self._context.reactor)
            what = "say what its VMs use"
            found = await self._host.connection.call("measure", what, usage.read_all, clock)
        for (name, _id), reading in found.items():
            record = records.get(name)
            if record is not None:
                self._context.abandoned(self._host.name, record, reading)

    async def _at_last(self) -> None:
        """Free what is left, but for what is to outlive us: the next start may be far away.

        That is what could not be freed before, and what a call has brought into being on which
        nobody waits any more.
        """
        if not self._host.usable:
            return  # then nobody knows what is saved here
        try:
            async with self._lock:
                await self._free_all_but_live()
        except LatentLibvirtError as error:
            log.warn("{error}; the sweep of the next start will free it", error=str(error))
        except CancelledError:  # by a deadline of who stops it; the connection is still closed
            log.warn(
                "host {host}: its last sweep took too long; the sweep of the next start will free "
                "what is left",
                host=self._host.name,
            )
        except Exception:  # noqa: BLE001 - a stop ends, whatever a host has said
            log.failure("host {host}: its last sweep", host=self._host.name)

    async def _free_all_but_live(self) -> None:
        seen, owner = await self._survey(), self._context.owner
        live = self._live(seen)
        staying = {d.record.vm_id for d in seen.meant_to_stay(owner) if d.record is not None}
        kept = {*live, *(staying - self._given_up)}
        frozen = self._frozen()
        left = seen.left_behind({owner.id}, kept, self._host.needed_states(seen), frozen)
        if left:
            await self._free(left)

    async def _left_behind(self, seen: sweep.Survey) -> Leftovers:
        # Asked after the survey: what a master that is back has started since is not in it.
        dead = await self._context.dead_owners(seen.pools())
        failed_over = await self._context.failed_over_owners(seen.pools())
        own, host = self._context.owner.id, self._host
        needed, frozen = host.needed_states(seen), self._frozen()
        left = seen.left_behind({own, *dead}, self._live(seen), needed, frozen)
        return left | seen.jobs_of(failed_over - {own})

    def _frozen(self) -> frozenset[str]:
        """Return the ids of the VMs whose memory and disk are to stay here.

        While a VM is thawed, its host may be configured again: another object knows of the thaw.
        """
        machines = self._context.machines.items()
        return self._host.frozen.vm_ids.union(
            vm_id for vm_id, machine in machines if vm_id in machine.host.frozen.busy
        )

    def _live(self, seen: sweep.Survey) -> frozenset[str]:
        """Return the ids of the VMs that may be on this host.

        A VM that was thawed on another host may have left its disk here. Whatever may be the same
        machine counts as this one: it may have been configured again since, with another URI, or be
        a machine without an SMBIOS, to which each start of libvirtd gives another UUID.
        """
        mine, here = self._host.connection, ("", seen.host_uuid)
        return frozenset(
            vm_id
            for vm_id, vm in self._context.machines.items()
            if vm.host.uuid in here
            or vm.host.connection.host == mine.host
            or vm.host.connection.uri == mine.uri
        )

    # What a survey says.

    async def _compare_frozen(self, seen: sweep.Survey, before: Collection[str]) -> None:
        frozen, owner_id = self._host.frozen, self._context.owner.id
        machines, read = self._context.machines, self._read_frozen
        await frozen.compare(seen, before, owner_id=owner_id, live=machines, read=read)
        frozen.forget_old(self._context.reactor.seconds())

    async def _read_frozen(self, found: Collection[names.OwnedVolume]) -> Found:
        what, host = "read what is frozen", self._host
        read, pool = frozen_io.read_all, host.storage_pool
        return await host.connection.call("read_frozen", what, read, pool, found)

    def _adopt_from(self, seen: sweep.Survey) -> Leftovers:
        """Offer what the master before has left running; nobody wants it: it is a leftover.

        :return: what was adopted.
        """
        adopted = []
        for domain in seen.meant_to_stay(self._context.owner):
            vm_id = domain.record.vm_id if domain.record is not None else ""
            is_unknown = vm_id not in self._context.machines and vm_id not in self._given_up
            if is_unknown and self._offer(domain):
                adopted.append(domain)
        return sweep.Leftovers(tuple(adopted))

    def _offer(self, domain: SlotDomain) -> bool:
        try:
            return self._context.adopt(self._host, domain)
        except Exception:  # noqa: BLE001 - what one domain says of itself is not to hide the others
            log.failure("host {host}: {domain}", host=self._host.name, domain=str(domain))
            return False

    def _note_others(self, seen: sweep.Survey) -> None:
        is_shared = seen.has_others_than(self._context.owner)
        if is_shared and not self.is_shared:
            log.info(
                "host {host}: another owner has VMs or volumes there. "
                "No slot is saved before a job boots in it.",
                host=self._host.name,
            )
        self.is_shared = is_shared

    def _listen_again(self, cut_off: Collection[Machine], seen: sweep.Survey) -> None:
        """After a loss of the connection: notice VMs that ended, listen to those that live."""
        running = seen.vm_ids()
        for machine in cut_off:
            vm_id = machine.record.vm_id
            if vm_id in self._context.machines:
                back = machine.connection_is_back(still_running=vm_id in running)
                Deferred.fromCoroutine(back).addErrback(self._cannot_listen, machine)

    def _cannot_listen(self, failure: Failure, machine: Machine) -> None:
        """Try once more after a while, unless the VM is being given up."""
        if not isinstance(failure.value, LatentLibvirtError):
            log.failure("{domain}: listening again", failure, domain=machine.name)
        elif machine.is_cut_off:
            name, error = self._host.name, failure.value
            log.warn("host {host}: {error}; it will be tried again", host=name, error=error)
            self.later()


def _log_lost_holds(host: str, leftovers: Leftovers) -> None:
    """Log that VMs go which an operator wanted to be held after their jobs."""
    for domain in leftovers.domains:
        record = domain.record
        if record is not None and record.is_to_be_held:
            log.warn(
                "host {host}: VM {vm} of worker {worker} was to be held{user}, and is deleted: its "
                "master was killed, and no pool takes the VM or its job is in another VM",
                host=host,
                vm=printable(record.vm_id),
                worker=printable(record.worker),
                user=f" for {printable(record.hold_asked_by)}" if record.hold_asked_by else "",
            )
