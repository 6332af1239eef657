# SPDX-License-Identifier: GPL-2.0-only
"""Models of a profile: each key with its type, its bounds, its meaning and an example.

A profile has no address. What the harness starts listens on loopback alone.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    Strict,
    model_validator,
)

from latent_libvirt.config.faults import fault, raise_located
from latent_libvirt.config.fields import SomeByName, Written
from latent_libvirt.config.models import Section
from latent_libvirt.config.units import format_duration, parse_duration
from latent_libvirt.stress.shapes import MOST_CHILDREN, Shape

MOST_JOBS: Final = 100_000
MOST_SECONDS: Final = 4 * 3600.0
MOST_MASTERS: Final = 10
MOST_SLOTS: Final = 2000
MOST_READERS: Final = 500


def _seconds(seconds: float) -> float:
    if not 0 <= seconds <= MOST_SECONDS:
        raise fault("the time is out of reach", f"write at most {format_duration(MOST_SECONDS)}")
    return seconds


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    AfterValidator(_seconds),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    Written("duration"),
]
Count = Annotated[int, Strict()]
Number = Annotated[float, Written("number")]


class DeploymentProfile(Section):
    """What is started."""

    interface_masters: Annotated[Count, Field(ge=0, le=MOST_MASTERS)] = Field(
        default=0, examples=[2]
    )
    """Number of interface masters beside a scheduler master. With `0`, a single master does all."""

    hosts: Annotated[Count, Field(ge=1, le=MOST_SLOTS)] = Field(examples=[10])
    """Number of simulated hosts of each master."""

    slots: Annotated[Count, Field(ge=1, le=MOST_SLOTS)] = Field(examples=[20])
    """Number of VMs that a host may have."""

    spares: Annotated[Count, Field(ge=0, le=MOST_SLOTS)] = Field(default=0, examples=[4])
    """Number of spares of each master."""

    start: Literal["resumed", "booted"] = Field(default="resumed", examples=["booted"])
    """Kind of start whose measured times the VMs simulate."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.all_slots > MOST_SLOTS:
            what = f"{self.all_slots} slots in all are too many"
            raise fault(what, f"keep masters x hosts x slots to {MOST_SLOTS}")
        return self

    @property
    def all_slots(self) -> int:
        """How many VMs there may be in all."""
        return max(1, self.interface_masters) * self.hosts * self.slots


class ShapeProfile(Section):
    """A shape of jobs."""

    weight: Annotated[Number, Field(ge=0.0, le=1000.0)] = Field(default=1.0, examples=[3])
    """How often such a job comes, in proportion to the others."""

    lines: Annotated[Count, Field(ge=0, le=100_000)] = Field(default=1, examples=[5000])
    """Lines that its command logs."""

    seconds: Annotated[Number, Field(ge=0.0, le=600.0)] = Field(default=0.0, examples=[5])
    """Seconds that its command takes."""

    exit_status: Annotated[Count, Field(ge=0, le=125)] = Field(default=0, examples=[1])
    """Exit status of its command. The job fails unless it is `0`."""

    children: Annotated[Count, Field(ge=0, le=MOST_CHILDREN)] = Field(default=0, examples=[2])
    """Number of trivial jobs that it triggers, and waits for."""

    @property
    def shape(self) -> Shape:
        """The shape without its weight."""
        return Shape(self.lines, self.seconds, self.exit_status, self.children)


class ArrivalsProfile(Section):
    """The times at which jobs are posted."""

    kind: Literal["at-once", "poisson", "day", "bursts"] = Field(
        default="at-once", examples=["poisson"]
    )
    """`at-once` is a mass rebuild. `poisson` has independent arrivals at the same rate all the
    time, `day` has a rate that follows the hours of a working day. `bursts` has groups of jobs at
    equal distances."""

    during: Duration = Field(default=0.0, examples=["5m"], json_schema_extra={"default": "0s"})
    """Time from the first to the last arrival. A whole day is compressed into it."""

    bursts: Annotated[Count, Field(ge=1, le=1000)] = Field(default=5, examples=[5])
    """Number of bursts."""

    @model_validator(mode="after")
    def _takes_time(self) -> Self:
        if self.kind != "at-once" and not self.during:
            raise_located(
                "arrivals", [(("during",), fault(f"{self.kind} takes time", "write during: 5m"))]
            )
        return self


class JobsProfile(Section):
    """The jobs."""

    count: Annotated[Count, Field(ge=1, le=MOST_JOBS)] = Field(examples=[1000])
    """Number of jobs that are posted."""

    arrivals: ArrivalsProfile = Field(default=ArrivalsProfile(), examples=["{kind: at-once}"])
    """When they are posted."""

    shapes: Annotated[SomeByName[ShapeProfile], Written("sections by name")] = Field(
        examples=["{trivial: {weight: 1}}"]
    )
    """What they do. Names are yours."""

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if not any(shape.weight for shape in self.shapes.values()):
            raise fault("all shapes have the weight 0", "give one of them more")
        return self


class ReadersProfile(Section):
    """Those who use the web at the same time."""

    users: Annotated[Count, Field(ge=0, le=MOST_READERS)] = Field(default=0, examples=[20])
    """Number of readers. With `0`, nobody reads."""

    every: Annotated[Number, Field(ge=0.1, le=600.0)] = Field(default=1.0, examples=[2.0])
    """Seconds between the beginnings of two requests of a reader, as long as answers are
    quicker."""


class Profile(Section):
    """A load, and what it is put on."""

    deployment: DeploymentProfile = Field(examples=["{hosts: 2, slots: 10}"])
    """What is started."""

    jobs: JobsProfile = Field(examples=["{count: 30, shapes: {trivial: {weight: 1}}}"])
    """Which jobs come when."""

    readers: ReadersProfile = Field(default=ReadersProfile(), examples=["{users: 5}"])
    """Who reads."""

    within: Duration = Field(examples=["10m"])
    """Time after which the run ends, whether all jobs have ended or not. The start and the end of
    the deployment are not part of it."""

    seed: Annotated[Count, Field(ge=0, le=2**31 - 1)] = Field(default=0, examples=[7])
    """Seed of all that is random. The same seed gives the same arrivals and shapes."""

    @model_validator(mode="after")
    def _ends_after_the_last_arrival(self) -> Self:
        if self.jobs.arrivals.during > self.within:
            longest = format_duration(self.jobs.arrivals.during)
            remedy = f"write at least {longest}"
            raise_located("profile", [(("within",), fault("jobs arrive after the end", remedy))])
        return self
