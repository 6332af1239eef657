# SPDX-License-Identifier: GPL-2.0-only
"""VMs at one moment: at work, spare, held and frozen."""

from __future__ import annotations

from dataclasses import dataclass

from latent_libvirt.status.names import BuildRef


@dataclass(frozen=True)
class LeaseStatus:
    """A VM, from when a worker is given it until nothing is left of it.

    :param image: the digest of its base image, empty until that is known.
    :param phase: ``prepare``, ``clone``, ``boot``, ``assign``, ``attach``, ``build`` or
        ``tear-down``.
    :param seconds_in_phase: since that phase began.
    :param seconds: since the worker was given the VM.
    :param failure: why there will be no VM, or no longer, empty if all goes well.
    :param job: what it is for, as soon as that is known.
    :param connection: how its worker comes to the master: ``tcp`` or ``channel``, empty until it
        does.
    :param requests: of its build to the forward proxy, as far as they have ended; ``None`` without
        one.
    :param refused: how many of them were refused, or failed.
    :param hold_for: seconds for which it is held when its build has ended; ``None`` if it is not.
    :param hold_asked_by: who has asked for that, empty if that is not known.
    :param pause: why its domain is paused, as a sentence without its full stop, empty if it runs.
    """

    worker: str
    label: str
    host: str
    slot: int
    domain: str
    vm_id: str
    image: str
    phase: str
    seconds_in_phase: float
    seconds: float
    failure: str
    job: BuildRef | None
    connection: str = ""
    requests: int | None = None
    refused: int = 0
    hold_for: float | None = None
    hold_asked_by: str = ""
    pause: str = ""


@dataclass(frozen=True)
class SpareStatus:
    """A VM that waits for a job, or is on its way; or one that is only to be saved.

    :param phase: of its start; ``waiting`` after that.
    :param seconds: since it was registered.
    """

    label: str
    host: str
    domain: str
    vm_id: str
    image: str
    phase: str
    seconds: float


@dataclass(frozen=True)
class HeldStatus:
    """A VM that is held after its job.

    :param worker: what it was.
    :param seconds_left: until it goes on its own.
    :param job: what ran there last, as far as it is known.
    """

    worker: str
    label: str
    host: str
    domain: str
    vm_id: str
    seconds_left: float
    job: BuildRef | None


@dataclass(frozen=True)
class FrozenStatus:
    """A VM that is frozen after its job.

    :param worker: what it was.
    :param seconds_left: until it is deleted.
    :param size: bytes of its memory and its disk.
    :param is_waiting: whether it is thawed as soon as it can have its slot.
    :param seconds: since it was frozen.
    :param trouble: why it can neither be thawed nor deleted now, and what to do, empty if it can.
    :param target: the host that it is copied to, or will be, empty for its own.
    :param given_up: why a thaw that waited for a slot was given up, or none is possible now, and
        what to do; empty otherwise.
    :param waits_for: what has to end before it is thawed, as a sentence without its full stop.
    :param job: what ran there last, as far as it is known.
    :param slot: that it needs again, 0 if that is not known.
    :param would_wait_for: what a thaw on its own host would wait for, likewise, empty if nothing.
    :param hosts: those on which it may be thawed, as far as the configuration says, its own first.
    """

    worker: str
    label: str
    host: str
    domain: str
    vm_id: str
    seconds_left: float
    size: int
    is_waiting: bool = False
    seconds: float = 0.0
    trouble: str = ""
    target: str = ""
    given_up: str = ""
    waits_for: str = ""
    job: BuildRef | None = None
    slot: int = 0
    would_wait_for: str = ""
    hosts: tuple[str, ...] = ()
