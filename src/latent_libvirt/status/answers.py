# SPDX-License-Identifier: GPL-2.0-only
"""Answers to an operator's commands."""

from __future__ import annotations

from dataclasses import dataclass

from latent_libvirt.status.names import VmNames


@dataclass(frozen=True)
class HostSweep:
    """What a sweep found on a host.

    :param leftovers: what it has freed, or would free, each in words.
    :param trouble: why it could not be swept, empty if it was.
    """

    host: str
    leftovers: tuple[str, ...]
    trouble: str


@dataclass(frozen=True)
class WillBeHeld:
    """A VM that is held when its job has ended, or is held already.

    :param until: for how long it is held and until when, in words; empty if its job goes on.
    :param after_job: for how long it is held from the end of its job, which goes on.
    """

    vm: VmNames
    until: str = ""
    after_job: str = ""

    def __str__(self) -> str:
        if self.until:
            return f"{self.vm} is held {self.until}."
        how_long = f" for {self.after_job}" if self.after_job else ""
        return f"{self.vm} will be held{how_long} when its job has ended."


@dataclass(frozen=True)
class Thawed:
    """What became of a VM that was to be thawed.

    :param vm: its names, in words.
    :param is_waiting: whether it cannot have its slot yet. It is thawed as soon as it can.
    :param host: on which it goes on, empty for the one that had frozen it.
    :param waits_for: what has to end before, as a sentence without its full stop.
    """

    vm: str
    is_waiting: bool
    host: str = ""
    waits_for: str = ""

    def __str__(self) -> str:
        there = f" on host {self.host}" if self.host else ""
        if not self.is_waiting:
            return f"{self.vm} is held again{there}."
        why = f"{self.vm} stays frozen for now, since {self.waits_for}."
        return f"{why}\nIt continues{there} as soon as it can."


@dataclass(frozen=True)
class Exportable:
    """A frozen VM that may be packed.

    :param vm: its names, in words.
    :param uri: of its host's libvirt.
    :param memory: the name of the volume that has its memory.
    :param export: by which the master knows this export.
    """

    vm: str
    uri: str
    storage_pool: str
    memory: str
    export: str
