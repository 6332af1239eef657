# SPDX-License-Identifier: GPL-2.0-only
"""Pool and labels at one moment, with all that is there."""

from __future__ import annotations

from dataclasses import dataclass

from latent_libvirt.status.hosts import HostStatus
from latent_libvirt.status.past import FailureStatus
from latent_libvirt.status.queue import QueueStatus, WaitingStatus
from latent_libvirt.status.vms import FrozenStatus, HeldStatus, LeaseStatus, SpareStatus


@dataclass(frozen=True)
class LabelStatus:
    """A label.

    :param used: how many places are taken for it: VMs, and room kept for VMs that will start.
    :param room: whether one more could start now.
    :param unfit: why it gets no VM on some of its hosts although others do, or that its image is
        missing there and what to do, in a sentence each.
    :param image: what is to be known of its image: a version on trial, or withdrawn.
    :param vcpus: of a VM whose build chooses none.
    :param memory: the same, in bytes.
    :param graphics: whether its VMs have a screen.
    """

    name: str
    drained: bool
    max_vms: int
    used: int
    hosts: tuple[str, ...]
    room: bool
    unfit: tuple[str, ...] = ()
    image: str = ""
    vcpus: int = 0
    memory: int = 0
    graphics: bool = False


@dataclass(frozen=True)
class PoolStatus:
    """A pool.

    :param master: the master's name in Buildbot's database.
    :param max_vms: the master's cap.
    :param used: how many places are taken in all.
    :param saving: VMs that run only to be saved.
    :param refused: what is wrong with the pool's YAML file since it was saved last, while the
        configuration before goes on, empty if nothing is.
    :param waiting: a queue for each label, and for those without; ``None`` if the database has not
        told. It is some seconds old.
    :param explained: why requests wait, those first that are to start first; at most 500. It is as
        old as *waiting*.
    :param generation: how many different configurations this process has followed.
    :param loaded_at: when the configuration was last read and found good, seconds since the epoch.
    :param failures: the last VMs that failed or that operators have ended, the newest first.
    :param changed: what the last edit of the configuration has changed, a line for each thing.
    :param changed_at: when that was, in seconds since the epoch; 0 if there was none.
    """

    master: str
    name: str
    max_vms: int
    used: int
    refused: str
    hosts: tuple[HostStatus, ...]
    labels: tuple[LabelStatus, ...]
    leases: tuple[LeaseStatus, ...]
    waiting: tuple[QueueStatus, ...] | None
    generation: int
    loaded_at: float
    spares: tuple[SpareStatus, ...] = ()
    held: tuple[HeldStatus, ...] = ()
    saving: tuple[SpareStatus, ...] = ()
    explained: tuple[WaitingStatus, ...] = ()
    failures: tuple[FailureStatus, ...] = ()
    changed: tuple[str, ...] = ()
    frozen: tuple[FrozenStatus, ...] = ()
    changed_at: float = 0.0
