# SPDX-License-Identifier: GPL-2.0-only
"""Observations of a run of the stress harness: its traffic, and the cores that each part used.

They are those of the run's steady time. It begins when the first jobs have ended, so that as many
end as begin, and ends with the last arrival, or when no request waits any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import yaml

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.stress.measure.processes import MACHINE
from latent_libvirt.stress.profile.models import Profile
from latent_libvirt.stress.report.numbers import mean
from latent_libvirt.stress.sizing.mix import mix_of

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row
    from latent_libvirt.stress.report.data import Data
    from latent_libvirt.stress.sizing.costs import Costs
    from latent_libvirt.stress.sizing.mix import Mix
    from latent_libvirt.stress.sizing.work import Traffic

SHORTEST: Final = 30.0
"""Seconds that the steady time has to take."""

STARTS: Final = 5.0
LONGER: Final = 1.1
"""The first jobs have ended after so many times their time, and these seconds for their VMs. On a
machine that is busy with other things, simulated jobs take longer than they are meant to."""

_PROCESSES: Final = {"scheduler": "scheduler", "database": "postgresql", "router": "router"}


@dataclass(frozen=True)
class Observed:
    """What was seen.

    :param interface_masters: how many ran.
    :param slots: of all hosts.
    :param machine: processors of the machine that all of it ran on.
    :param seconds: of the steady time.
    :param traffic: that there was; its VMs are the slots that were taken.
    :param cores: that each part used; of interface masters, on average.
    :param others: cores that programs used which are no part of the run.
    """

    profile: Profile
    interface_masters: int
    slots: int
    machine: int
    seconds: float
    traffic: Traffic
    cores: Mapping[str, float]
    others: float

    @property
    def all_cores(self) -> float:
        """Cores that the run used, with its harness."""
        more = (self.interface_masters - 1) * self.cores["interface"]
        return sum(self.cores.values()) + more


def observed(data: Data) -> Observed:
    """Return what was seen in a run.

    :raises ConfigurationError: it has no steady time, or had a single master.
    """
    interfaces = [name for name in data.run.masters if name.startswith("interface")]
    if not interfaces:
        raise ConfigurationError(
            "the run had no interface masters, so it has no figures for a plan",
            resolution="Give the report of a run with interface masters.",
        )
    profile = Profile.model_validate(yaml.safe_load(data.run.profile))
    steady = _steady(data, mix_of(profile))
    found = Observed(
        profile=profile,
        interface_masters=len(interfaces),
        slots=data.run.slots,
        machine=data.run.cores,
        seconds=steady.ended - steady.began,
        traffic=steady.traffic,
        cores=steady.parts(interfaces),
        others=0.0,
    )
    return replace(found, others=max(0.0, steady.cores(MACHINE) - found.all_cores))


def costs_of(seen: Observed, costs: Costs, source: str) -> Costs:
    """Return the costs of the machine that a run was on.

    One run cannot tell what a line costs from what a build costs. So each part's costs keep their
    proportions, and become as much larger or smaller as the part used more or less than they say.
    """
    factors = {
        part: used / costs.cores(part, seen.traffic, seen.interface_masters)
        for part, used in seen.cores.items()
        if used > 0
    }
    return costs.scaled(factors, source)


def _steady(data: Data, mix: Mix) -> _Steady:
    """Return the steady time of a run.

    :raises ConfigurationError: it is too short.
    """
    ramp = LONGER * mix.longest + STARTS
    posts = [post["at"] + post["late"] for post in data.posts]
    waiting = [row["at"] for row in data.queue if row["waiting"] > 0]
    began = data.run.began + ramp
    ended = min(max([began, *posts, *waiting]), data.run.ended)
    if ended - began < SHORTEST:
        raise ConfigurationError(
            "the run has no steady time, in which as many jobs end as begin",
            details=f"It begins {ramp:.0f} s after the first job and takes {ended - began:.0f} s; "
            f"{SHORTEST:.0f} s are needed.",
            resolution="Let jobs arrive for longer than the longest job takes.",
        )
    return _Steady(data, mix, began, ended)


@dataclass(frozen=True)
class _Steady:
    """A run between two times."""

    data: Data
    mix: Mix
    began: float
    ended: float

    def parts(self, interfaces: list[str]) -> dict[str, float]:
        found = {part: self.cores(process) for part, process in _PROCESSES.items()}
        found["interface"] = mean(map(self.cores, interfaces))
        known = {*self.data.run.masters, *_PROCESSES.values(), MACHINE}
        found["harness"] = sum(map(self.cores, self._by_process.keys() - known))
        return found

    def cores(self, process: str) -> float:
        return mean(self._by_process.get(process, ()))

    @property
    def traffic(self) -> Traffic:
        rows = self._in(self.data.queue)
        first, last = rows[0], rows[-1]
        builds = (last["finished"] - first["finished"]) / (last["at"] - first["at"])
        reads = len(self._in(self.data.web)) / (self.ended - self.began)
        taken = mean(row["unfinished"] - row["waiting"] for row in rows)
        return replace(self.mix.traffic(builds, reads), vms=taken)

    @cached_property
    def _by_process(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for row in self._in(self.data.processes):
            found.setdefault(row["process"], []).append(row["cores"])
        return found

    def _in(self, rows: list[Row]) -> list[Row]:
        return [row for row in rows if self.began <= row["at"] <= self.ended]
