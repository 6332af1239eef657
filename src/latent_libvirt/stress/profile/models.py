# SPDX-License-Identifier: GPL-2.0-only
"""Models of a profile: each key with its type, its bounds, its meaning and an example.

What the harness starts listens on loopback alone. ``target.py`` has deployments that run already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    Strict,
    model_validator,
)

from latent_libvirt.config.faults import fault, raise_located
from latent_libvirt.config.fields.base import Written
from latent_libvirt.config.fields.names import Name, SomeByName
from latent_libvirt.config.fields.sizes import Memory
from latent_libvirt.config.section import Section
from latent_libvirt.config.text import quoted
from latent_libvirt.config.units import MIB, format_duration, parse_duration
from latent_libvirt.jobs import reserved
from latent_libvirt.stress.profile.target import File, TargetProfile
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


def _allowed(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse what the job API would refuse of each job."""
    for name in properties:
        if (owner := reserved.whose(str(name))) is not None:
            raise fault(
                f"the property {quoted(str(name))} belongs to {owner}", "choose another name"
            )
    return properties


def _some_time(seconds: float) -> float:
    if not seconds:
        raise fault("a run takes time", "write within: 5m")
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
    """Number of hosts of each master."""

    slots: Annotated[Count, Field(ge=1, le=MOST_SLOTS)] = Field(examples=[20])
    """Number of VMs that a host may have."""

    spares: Annotated[Count, Field(ge=0, le=MOST_SLOTS)] = Field(default=0, examples=[4])
    """Number of spares of each master."""

    start: Literal["resumed", "booted"] = Field(default="resumed", examples=["booted"])
    """Kind of start whose measured times simulated VMs have. Real VMs start in that way."""

    hypervisor: Literal["simulated", "private", "pool"] = Field(
        default="simulated", examples=["private"]
    )
    """What VMs run on. `simulated` is libvirt's test driver. `private` starts a libvirtd for each
    host, with QEMU guests of `image`. `pool` takes the hosts, images and labels of the file
    `pool`."""

    image: Name = Field(default="debian-12", examples=["debian-12"])
    """Recipe of the image of `private` hosts. It is built the first time."""

    memory: Memory = Field(
        default=256 * MIB, examples=["256MiB"], json_schema_extra={"default": "256MiB"}
    )
    """Memory of VMs on `private` hosts."""

    pool: File | None = Field(default=None, examples=["pool.yaml"])
    """A `pool.yaml` with your hosts. Each master has at most `hosts` x `slots` VMs on them."""

    label: Name | None = Field(default=None, examples=["debian-12"])
    """Label of `pool` whose VMs run jobs. By default, it is the first one."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.all_slots > MOST_SLOTS:
            what = f"{self.all_slots} slots in all are too many"
            raise fault(what, f"keep masters x hosts x slots to {MOST_SLOTS}")
        return self

    @model_validator(mode="after")
    def _knows_its_hosts(self) -> Self:
        if (self.hypervisor == "pool") != (self.pool is not None):
            what = "the hypervisor `pool` and the key `pool` belong together"
            raise_located("deployment", [(("pool",), fault(what, "write both, or none"))])
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

    builder: Annotated[str, Field(min_length=1, max_length=70)] | None = Field(
        default=None, examples=["check-debian-12"]
    )
    """Builder of a target that runs such a job. By default it is `stress-work`, or `stress-parent`
    for a shape with children. A deployment that the harness starts has only these two."""

    properties: Annotated[
        Mapping[str, Any],
        Field(max_length=50),
        AfterValidator(_allowed),
        Written("properties by name"),
    ] = Field(default={}, examples=["{package: hello}"])
    """More properties of the build."""

    @property
    def shape(self) -> Shape:
        """The shape without its weight."""
        return Shape(
            self.lines,
            self.seconds,
            self.exit_status,
            self.children,
            builder=self.builder,
            properties=tuple(self.properties.items()),
        )


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

    deployment: DeploymentProfile | None = Field(default=None, examples=["{hosts: 2, slots: 10}"])
    """What is started. A profile has either this section or `target`."""

    target: TargetProfile | None = Field(
        default=None, examples=["{url: 'http://127.0.0.1:8010/', token_file: token}"]
    )
    """A deployment that runs already."""

    jobs: JobsProfile = Field(examples=["{count: 30, shapes: {trivial: {weight: 1}}}"])
    """Which jobs come when."""

    readers: ReadersProfile = Field(default=ReadersProfile(), examples=["{users: 5}"])
    """Who reads."""

    within: Annotated[Duration, AfterValidator(_some_time)] = Field(examples=["10m"])
    """Time after which the run ends, whether all jobs have ended or not. The start and the end of
    the deployment are not part of it."""

    seed: Annotated[Count, Field(ge=0, le=2**31 - 1)] = Field(default=0, examples=[7])
    """Seed of all that is random. The same seed gives the same arrivals and shapes."""

    @model_validator(mode="after")
    def _has_one_system(self) -> Self:
        if self.deployment is None and self.target is None:
            remedy = "add `deployment: {hosts: 2, slots: 10}`, or a `target`"
            raise_located("profile", [(("deployment",), fault("missing", remedy))])
        if self.deployment is not None and self.target is not None:
            what = "a load is put on one system: there are a deployment and a target"
            raise_located("profile", [(("target",), fault(what, "remove one of them"))])
        return self

    @model_validator(mode="after")
    def _builders_are_there(self) -> Self:
        named = [name for name, shape in self.jobs.shapes.items() if shape.builder is not None]
        if self.deployment is not None and named:
            what = "a deployment that the harness starts has none but its own builders"
            place = ("jobs", "shapes", named[0], "builder")
            raise_located("profile", [(place, fault(what, "remove the key, or name a target"))])
        return self

    @model_validator(mode="after")
    def _ends_after_the_last_arrival(self) -> Self:
        if self.jobs.arrivals.during > self.within:
            longest = format_duration(self.jobs.arrivals.during)
            remedy = f"write at least {longest}"
            raise_located("profile", [(("within",), fault("jobs arrive after the end", remedy))])
        return self
