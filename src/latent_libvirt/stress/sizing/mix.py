# SPDX-License-Identifier: GPL-2.0-only
"""Mix of a stress profile: what its jobs come to for one build, and the traffic that it offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.stress.shapes import Shape
from latent_libvirt.stress.sizing.demand import messages, request_time
from latent_libvirt.stress.sizing.work import Traffic

if TYPE_CHECKING:
    from latent_libvirt.stress.profile.models import Profile

CHILD: Final = Shape()
"""What a job triggers."""

READS: Final = 14 / 12
"""Requests of a reader's turn, on average (``readers/locustfile.py``)."""


@dataclass(frozen=True)
class Mix:
    """A profile's jobs.

    :param shapes: with their weights.
    :param start_time: seconds that each takes beside its work.
    """

    shapes: tuple[tuple[float, Shape], ...]
    start_time: float

    @property
    def builds(self) -> float:
        """Builds of a job: itself and those that it triggers."""
        return self._of_a_job(lambda _shape: 1.0)

    @property
    def longest(self) -> float:
        """Seconds of the longest job."""
        return max(shape.seconds for weight, shape in self.shapes if weight)

    def traffic(self, builds: float, reads: float) -> Traffic:
        """Return what so many builds and requests in a second come to."""
        return Traffic(
            builds=builds,
            lines=builds * self._of_a_build(lambda shape: shape.lines),
            messages=builds * self._of_a_build(lambda s: messages(s.lines, s.seconds)),
            vms=builds * self._of_a_build(self._request_time),
            reads=reads,
        )

    def _request_time(self, shape: Shape) -> float:
        """Return the seconds for which a job's request is claimed; it waits for those it triggers.

        The slot is taken for a moment longer, which the measured queue does not have.
        """
        own = shape.seconds + self.start_time
        return own + self._request_time(CHILD) if shape.children else own

    def _of_a_job(self, amount: Callable[[Shape], float]) -> float:
        """Return the mean amount of something that a job and those that it triggers have."""
        found = (
            weight * (amount(shape) + shape.children * amount(CHILD))
            for weight, shape in self.shapes
        )
        return sum(found) / sum(weight for weight, _shape in self.shapes)

    def _of_a_build(self, amount: Callable[[Shape], float]) -> float:
        return self._of_a_job(amount) / self.builds


def mix_of(profile: Profile) -> Mix:
    """Return the mix of a profile."""
    shapes = profile.jobs.shapes.values()
    start = request_time(0.0, getattr(profile.deployment, "start", "resumed"))
    return Mix(tuple((each.weight, each.shape) for each in shapes), start)


def offered(profile: Profile) -> tuple[Traffic, bool]:
    """Return the traffic of a profile, and whether more arrives than that.

    Of jobs that all arrive at once, it is that of one build in a second.

    :raises ConfigurationError: its jobs do not arrive evenly.
    """
    mix, when = mix_of(profile), profile.jobs.arrivals
    readers = profile.readers
    reads = READS * readers.users / readers.every
    if when.kind == "at-once":
        return mix.traffic(1.0, reads), True
    if when.kind == "poisson":
        return mix.traffic(mix.builds * profile.jobs.count / when.during, reads), False
    raise ConfigurationError(
        f"the jobs of the run arrived as {when.kind!r}, so it has no steady time",
        resolution="Give the report of a run with arrivals of the kind poisson or at-once.",
    )
