# SPDX-License-Identifier: GPL-2.0-only
"""History of VMs: those that failed, and what each has done in its slot."""

from __future__ import annotations

from dataclasses import dataclass

from latent_libvirt.status.names import BuildRef


@dataclass(frozen=True)
class FailureStatus:
    """A VM that did not come up, or was lost under its build, or that an operator has ended.

    :param when: in seconds since the epoch.
    :param worker: whose VM it was, empty if it had none.
    :param details: more about the reason: messages, the end of its console, what to do.
    :param is_ended_by_operator: whether an operator has ended it, which is no failure.
    """

    when: float
    label: str
    host: str
    domain: str
    vm_id: str
    worker: str
    reason: str
    details: str
    job: BuildRef | None = None
    is_ended_by_operator: bool = False


@dataclass(frozen=True)
class SlotUse:
    """What a VM has done in its slot.

    :param worker: whose VM it was, empty if it was nobody's.
    :param began: when it was registered, in seconds since the epoch.
    :param phases: those that are over, one after the other, with their seconds.
    :param phase: the one that it is in, empty if the VM is gone.
    :param phase_since: when that began.
    :param ended: when nothing was left of the VM; 0 as long as something is.
    """

    host: str
    slot: int
    label: str
    vm_id: str
    worker: str
    job: BuildRef | None
    began: float
    phases: tuple[tuple[str, float], ...]
    phase: str
    phase_since: float
    ended: float = 0.0
