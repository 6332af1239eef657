# SPDX-License-Identifier: GPL-2.0-only
"""System under load: a deployment that the harness starts, or one that runs already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.processes import ProcessWatch
    from latent_libvirt.stress.measure.raw import Row


@dataclass(frozen=True)
class Sample:
    """A measurement that is repeated.

    :param name: of the file with its rows.
    :param every: seconds between two of them.
    """

    name: str
    take: Callable[[], list[Row]]
    every: float


@dataclass(frozen=True)
class About:
    """What a report says of the system.

    :param slots: how many VMs there may be in all; 0 if that is not known.
    :param masters: their names; those with workers come last.
    :param target: the URL of a deployment that ran already; empty for one of the harness.
    :param invisible: what could not be measured, each with the reason.
    """

    slots: int
    masters: tuple[str, ...]
    hypervisor: str = "simulated"
    target: str = ""
    invisible: tuple[str, ...] = ()
    loops_by: str = field(default="timers")


class System(Protocol):
    """What is under load."""

    @property
    def web_url(self) -> str:
        """Where the web UI is, with a slash at the end."""

    @property
    def token(self) -> str:
        """What readers of the job API send; empty for none."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those that the host of the web UI may have; any if there is none."""

    def about(self) -> About:
        """Return what a report says of the system."""

    def watch(self, own_name: str) -> ProcessWatch:
        """Return a watch of the system's processes, and of this one by its name."""

    def samples(self) -> list[Sample]:
        """Return the other measurements."""

    def begin(self) -> None:
        """Begin to measure what counts from the beginning of a run."""

    def see_that_all_run(self) -> None:
        """Raise if a part of the system has ended.

        :raises LatentLibvirtError: it has.
        """

    def submit(self, request: Mapping[str, Any]) -> None:
        """Post a job.

        :raises LatentLibvirtError: it was refused.
        """

    def unfinished(self) -> int:
        """Return how many jobs have not ended."""

    def stop(self) -> None:
        """Accept no more jobs; a POST that is under way may end."""

    def collect(self, raw: Path) -> None:
        """Write down what is known at the end."""

    def leave(self) -> list[str]:
        """End the jobs that have not ended; return what is left, in words."""
