# SPDX-License-Identifier: GPL-2.0-only
"""Reports of a pool's hosts, labels and VMs as plain values; they change nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from latent_libvirt.host.states.frozen import moment
from latent_libvirt.status.hosts import HostStatus, SavedStateStatus, Usage
from latent_libvirt.status.names import Target
from latent_libvirt.status.pool import LabelStatus
from latent_libvirt.status.vms import FrozenStatus, HeldStatus, LeaseStatus, SpareStatus

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.states.saved_states import SavedStates
    from latent_libvirt.pool.holding.frozen import AllFrozen, Frozen
    from latent_libvirt.pool.holding.holds import Hold
    from latent_libvirt.pool.holding.notes import FrozenNotes, OutOfReach
    from latent_libvirt.pool.holding.thawing.thaws import Thaws
    from latent_libvirt.pool.lease import Lease
    from latent_libvirt.pool.room.capacity import Capacity
    from latent_libvirt.pool.vm import VM


def hosts(
    config: PoolConfig,
    capacity: Capacity,
    running: Mapping[str, Host],
    host_backoff: Mapping[str, str] = MappingProxyType({}),
    resumable: Mapping[str, int] = MappingProxyType({}),
) -> tuple[HostStatus, ...]:
    """Return the status of each host of *config*.

    :param running: those that have been started.
    :param host_backoff: why some of them get nothing for a while.
    :param resumable: how many states their slots would have, if all were saved.
    """
    used = Counter(allocation.host for allocation in capacity.taken)
    return tuple(
        HostStatus(
            name=name,
            usable=name in running and running[name].usable and name not in host_backoff,
            trouble=_trouble(name, running, host_backoff),
            drained=capacity.is_drained(Target("host", name)),
            slots=host.slots,
            used=used[name],
            blocked=tuple(sorted(running[name].blocked_slots)) if name in running else (),
            connected=name in running and running[name].connection.is_up,
            vcpus=_usage(capacity.given(name).vcpus, host.vcpu_budget),
            memory=_usage(capacity.given(name).memory, host.memory_budget),
            starting=capacity.starting(name),
            saved=_saved(running[name]) if name in running else (),
            saved_state_space=_space(running[name], host.saved_state_space)
            if name in running
            else None,
            resumable=resumable.get(name, 0),
            squatters=running[name].squatters if name in running else (),
            shared=name in running and running[name].is_shared,
            density=running[name].density if name in running else None,
        )
        for name, host in config.hosts.items()
    )


def _trouble(name: str, running: Mapping[str, Host], host_backoff: Mapping[str, str]) -> str:
    if name not in running:
        return "not started yet"
    return running[name].trouble or host_backoff.get(name, "")


def _saved(host: Host) -> tuple[SavedStateStatus, ...]:
    """Return what is saved on *host*: the same as long as that does not change."""
    version, known = _LAST_SAVED.get(host.saved.states, (-1, ()))
    if version != host.saved.states.version:
        there = sorted(host.saved.states, key=lambda state: (state.name.slot, state.record.label))
        known = tuple(SavedStateStatus(s.name.slot, s.record.label, s.size) for s in there)
        _LAST_SAVED[host.saved.states] = host.saved.states.version, known
    return known


_LAST_SAVED: Final[WeakKeyDictionary[SavedStates, tuple[int, tuple[SavedStateStatus, ...]]]] = (
    WeakKeyDictionary()
)


def _space(host: Host, space: int) -> Usage:
    return Usage(host.saved.states.size, space)


def _usage(used: int, budget: int | None) -> Usage | None:
    return None if budget is None else Usage(used, budget)


def labels(
    config: PoolConfig,
    capacity: Capacity,
    unfit: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    image: Callable[[str], str] = lambda _label: "",
) -> tuple[LabelStatus, ...]:
    """Return the status of each label of *config*.

    :param unfit: by label and host, why the label gets no VM there although others may.
    :param image: returns what is to be known of a label's image.
    """
    used = Counter(allocation.label for allocation in capacity.taken)
    return tuple(
        LabelStatus(
            name=name,
            drained=capacity.is_drained(Target("label", name)),
            max_vms=label.max_vms,
            used=used[name],
            hosts=config.hosts_for(name),
            room=capacity.room(name),
            unfit=tuple(f"host {host}: {why}" for host, why in unfit.get(name, {}).items()),
            image=image(name),
            vcpus=label.vcpus,
            memory=label.memory,
            graphics=label.graphics,
        )
        for name, label in config.labels.items()
    )


def leases(given: Iterable[Lease]) -> tuple[LeaseStatus, ...]:
    """Return the status of each lease, the oldest first."""
    return tuple(sorted(map(_lease, given), key=lambda lease: -lease.seconds))


def _lease(lease: Lease) -> LeaseStatus:
    report = lease.report()
    phase, seconds_in_phase = lease.current_phase
    fetched = lease.vm.fetched
    return LeaseStatus(
        worker=report.worker,
        label=report.label,
        host=report.host,
        slot=lease.vm.allocation.slot,
        domain=report.domain,
        vm_id=report.vm_id,
        image=report.image,
        phase=phase,
        seconds_in_phase=seconds_in_phase,
        seconds=lease.timeline.age,
        failure=report.failure,
        job=lease.job,
        connection=lease.vm.machine.connection,
        requests=None if fetched is None else fetched.count,
        refused=0 if fetched is None else fetched.refused,
        hold_for=lease.hold_for,
        hold_asked_by=lease.hold_asked_by,
        pause=lease.vm.machine.pause,
    )


def spares(there: Iterable[VM]) -> tuple[SpareStatus, ...]:
    """Return the status of each VM without a worker, the oldest first."""
    return tuple(sorted(map(_spare, there), key=lambda spare: -spare.seconds))


def _spare(vm: VM) -> SpareStatus:
    phase, _seconds = vm.timeline.current or ("waiting", 0.0)
    return SpareStatus(
        label=vm.allocation.label,
        host=vm.host.name,
        domain=vm.machine.name,
        vm_id=vm.vm_id,
        image=vm.machine.image_digest,
        phase=phase,
        seconds=vm.age,
    )


def frozen(
    there: AllFrozen, thaws: Thaws, notes: FrozenNotes, now: float
) -> tuple[FrozenStatus, ...]:
    """Return the status of each frozen VM, the one first that has the least time."""
    found = [_frozen(each, thaws, _may_run(each, there), now) for each in there]
    found += [_out_of_reach(each, now) for each in notes.out_of_reach()]
    return tuple(sorted(found, key=lambda vm: vm.seconds_left))


def _out_of_reach(vm: OutOfReach, now: float) -> FrozenStatus:
    note = vm.note
    return FrozenStatus(
        worker=note.worker,
        label=note.label,
        host=note.host,
        domain=note.domain,
        vm_id=note.vm_id,
        seconds_left=max(0.0, moment(note.until).timestamp() - now),
        size=note.size,
        seconds=max(0.0, now - note.frozen_at),
        trouble=f"{vm.why} {vm.remedy}",
        job=note.job,
    )


def _frozen(frozen: Frozen, thaws: Thaws, may_run: str, now: float) -> FrozenStatus:
    vm = frozen.vm
    return FrozenStatus(
        worker=vm.record.worker,
        label=vm.record.label,
        host=frozen.host.name,
        domain=vm.domain,
        vm_id=vm.vm_id,
        seconds_left=max(0.0, vm.until.timestamp() - now),
        size=vm.size,
        is_waiting=thaws.is_waiting(frozen),
        waits_for=thaws.waits_for(frozen),
        slot=vm.slot,
        would_wait_for=thaws.would_wait_for(frozen),
        hosts=thaws.hosts_for(frozen),
        seconds=max(0.0, now - vm.frozen_at),
        target=thaws.target(frozen),
        given_up=thaws.given_up(frozen) or may_run,
        job=frozen.job,
    )


def _may_run(frozen: Frozen, there: AllFrozen) -> str:
    """Return why it may run on another host already, empty if it does not."""
    found = there.may_run(frozen)
    return "" if found is None else f"It cannot be thawed: {found[0]}. {found[1]}"


def held(there: Iterable[Hold]) -> tuple[HeldStatus, ...]:
    """Return the status of each VM that is held, the one first that has the least time."""
    return tuple(sorted(map(_held, there), key=lambda held: held.seconds_left))


def _held(hold: Hold) -> HeldStatus:
    return HeldStatus(
        worker=hold.worker,
        label=hold.vm.allocation.label,
        host=hold.vm.host.name,
        domain=hold.vm.machine.name,
        vm_id=hold.vm.vm_id,
        seconds_left=hold.seconds_left,
        job=hold.job,
    )
