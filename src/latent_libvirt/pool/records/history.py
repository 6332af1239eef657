# SPDX-License-Identifier: GPL-2.0-only
"""History of a pool: its last failures, and which VMs were in which slot in the last hour."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from latent_libvirt.status.past import FailureStatus, SlotUse

if TYPE_CHECKING:
    from latent_libvirt.errors import LatentLibvirtError
    from latent_libvirt.pool.vm import VM

MOST_FAILURES: Final = 20
"""VMs that have failed and are remembered, and as many that operators have ended."""

MOST_VMS: Final = 2_000
"""VMs that have ended and are remembered."""

REMEMBERED_FOR: Final = 3600.0
"""Seconds for which a VM is remembered after its end."""

LONGEST: Final = 4_000
"""Characters that are kept of an error's details: the last ones, which have the console's end."""


class History:
    """What has happened in a pool since its master started.

    :param clock: returns the time, in seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: deque[FailureStatus] = deque(maxlen=MOST_FAILURES)
        self._ended_by_operators: deque[FailureStatus] = deque(maxlen=MOST_FAILURES)
        self._ended: deque[SlotUse] = deque(maxlen=MOST_VMS)

    @property
    def failures(self) -> tuple[FailureStatus, ...]:
        """The last failures and VMs that operators have ended, the newest first."""
        noted = (*reversed(self._failures), *reversed(self._ended_by_operators))
        return tuple(sorted(noted, key=lambda each: -each.when))

    def note_failure(self, vm: VM, error: LatentLibvirtError) -> None:
        """Remember that *vm* did not come up, or was lost, also if an operator has ended it.

        VMs that no build waits for are started again and again. What is repeated of theirs on one
        host, for one label, is remembered once.
        """
        details = "\n".join(part for part in (error.details, error.resolution) if part)
        self._note(vm, error.brief, details)

    def note_lost_hold(self, vm: VM, user: str, why: str) -> None:
        """Remember that *vm* goes although *user* wanted it to be held, with what it has failed by.

        :param why: why it is not held. A VM that has failed has a reason already.
        """
        lost = f"the hold that {user or 'somebody'} has asked for is lost"
        for noted in (self._failures, self._ended_by_operators):
            for at, each in enumerate(noted):
                if each.vm_id == vm.vm_id:
                    noted[at] = replace(each, reason=f"{each.reason}; {lost}"[:LONGEST])
                    return
        self._note(vm, f"{lost}: {why}", "")

    def _note(self, vm: VM, reason: str, details: str) -> None:
        noted = self._ended_by_operators if vm.is_ended_by_operator else self._failures
        failure = FailureStatus(
            when=self._clock(),
            label=vm.allocation.label,
            host=vm.host.name,
            domain=vm.machine.name,
            vm_id=vm.vm_id,
            worker=vm.machine.record.worker if vm.lease is None else vm.lease.worker,
            reason=reason[:LONGEST],
            details=details[-LONGEST:],
            job=None if vm.lease is None else vm.lease.job,
            is_ended_by_operator=vm.is_ended_by_operator,
        )
        before = next((each for each in noted if _is_repeated(each, failure)), None)
        if before is not None:
            noted.remove(before)
        noted.append(failure)

    def note_end(self, vm: VM, tear_down: float) -> None:
        """Remember *vm*, of which nothing is left.

        :param tear_down: seconds that its tear-down took.
        """
        now = self._clock()
        use = slot_use(vm, now)
        phases = [(name, seconds) for name, seconds in use.phases if name != _TEAR_DOWN]
        open_for = round(max(0.0, now - use.phase_since - tear_down), 2)
        last = [(use.phase, open_for)] if use.phase != _TEAR_DOWN else []
        told = (*phases, *last, (_TEAR_DOWN, round(tear_down, 2)))
        self._ended.append(SlotUse(**{**vars(use), "phases": told, "phase": "", "ended": now}))

    def uses(self, vms: Iterable[VM]) -> Iterator[SlotUse]:
        """Yield what was in the slots in the last hour, and what is.

        :param vms: those that there are.
        """
        now = self._clock()
        while self._ended and self._ended[0].ended < now - REMEMBERED_FOR:
            self._ended.popleft()
        yield from self._ended
        for vm in vms:
            yield slot_use(vm, now)


def _is_repeated(before: FailureStatus, now: FailureStatus) -> bool:
    """Whether both are of VMs that no build waited for, and say the same of other slots."""
    return not (before.worker or now.worker) and _what(before) == _what(now)


def _what(failure: FailureStatus) -> tuple[str, str, str]:
    return failure.label, failure.host, failure.reason.replace(failure.domain, "")


_TEAR_DOWN: Final = "tear-down"


def slot_use(vm: VM, now: float) -> SlotUse:
    """Return what *vm* has done in its slot so far."""
    phases = tuple(_phases(vm))
    began, over = now - vm.timeline.age, sum(seconds for _name, seconds in phases)
    lease = vm.lease
    return SlotUse(
        host=vm.host.name,
        slot=vm.allocation.slot,
        label=vm.allocation.label,
        vm_id=vm.vm_id,
        worker="" if lease is None else lease.worker,
        job=None if lease is None else lease.job,
        began=round(began, 3),
        phases=tuple((name, round(seconds, 2)) for name, seconds in phases),
        phase=_phase(vm),
        phase_since=round(min(now, began + over), 3),
    )


def _phases(vm: VM) -> Iterator[tuple[str, float]]:
    """Yield the phases that are over, one after the other, without gaps."""
    start = vm.timeline.phases
    yield from start.items()
    lease = vm.lease
    if lease is None or lease.vm is not vm:
        return
    if lease.way == "spare":
        waited = vm.timeline.age - lease.timeline.age - sum(start.values())
        yield "waiting", max(0.0, waited)
    yield from ((name, seconds) for name, seconds in lease.phases.items() if name not in start)


def _phase(vm: VM) -> str:
    """Return the phase that it is in."""
    lease = vm.lease
    if vm.timeline.current is not None:
        return vm.timeline.current[0]
    if lease is None or lease.vm is not vm:
        return "waiting"
    return "held" if lease.timeline.current is None else lease.timeline.current[0]
