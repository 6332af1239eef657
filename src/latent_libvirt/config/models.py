# SPDX-License-Identifier: GPL-2.0-only
"""What may stand in ``pool.yaml``: each key, what it means, and what it is if nobody says.

The descriptions are for people: they become those of the JSON schema. ``fields.py`` checks
single values, ``references.py`` what has to agree across sections.

Everything is immutable and compares by value: by ``==``, a reconfig sees what has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from croniter import croniter
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    Strict,
    ValidationError,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails

from latent_libvirt.config import references
from latent_libvirt.config.budgets import budget
from latent_libvirt.config.faults import FAULT, fault, raise_located
from latent_libvirt.config.fields import (
    DEFAULT_MEMORY,
    DEFAULT_SAVED_STATE_SPACE,
    DEFAULT_VCPUS,
    MOST_VMS,
    Address,
    ByName,
    Cron,
    Digest,
    DiskSize,
    Flag,
    HostNames,
    Interface,
    IpAndPort,
    LibvirtName,
    LongTime,
    Memory,
    Name,
    Overcommit,
    SavedStateSpace,
    SomeByName,
    Timeout,
    TimeZone,
    Uri,
    UserName,
    VcpuCount,
    VmCount,
    zone_info,
)
from latent_libvirt.config.text import quoted


class Hardware:
    """A mark of a label's keys that decide what its guests see."""


HARDWARE = Hardware()


class Section(BaseModel):
    """A mapping of known keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


class MasterConfig(Section):
    """The Buildbot master that the pool belongs to."""

    max_vms: VmCount = Field(examples=[12])
    """How many VMs may exist at once, over all hosts and labels; 0 lets no new one start."""

    name: Name | None = Field(default=None, examples=["fast"])
    """Put before the names of all workers, so that masters with one database never share one."""

    address: Address | None = Field(default=None, examples=["buildbot.example.org"])
    """Where guests find the master: a host name or IP address, without a port. Without it, guests
    use the gateway of their network, which is right if the master runs on the hypervisor itself."""

    placement: Literal["spread", "pack"] = Field(default="spread", examples=["pack"])
    """Which of several hosts with room gets the next VM: with `spread`, the one that has the most
    room for VMs of its label; with `pack`, the one that has the least, so that others stay empty
    for large VMs."""

    metrics: IpAndPort | None = Field(default=None, examples=["127.0.0.1:9177"])
    """Where Prometheus finds the pool's metrics, under `/metrics`: an IP address of this machine
    and a port. Anyone who reaches it can read them. Without it, they are not served."""

    stop_within: Timeout = Field(default=3.0, examples=["10m"], json_schema_extra={"default": "3s"})
    """How long builds have to finish when the master is told to stop. What still runs then is
    RETRY, and runs again when the master is back."""


class HostConfig(Section):
    """One hypervisor."""

    uri: Uri = Field(examples=["qemu+ssh://buildbot@alpha/system"])
    """How libvirt connects to it."""

    slots: VmCount = Field(examples=[8])
    """How many VMs it may run at once, of all masters that use it; 0 lets no new one start."""

    max_starting: Annotated[int, Strict(), Field(ge=1, le=MOST_VMS)] | None = Field(
        default=None, examples=[4]
    )
    """How many VMs may be starting there at once, until they wait for a job: those that boot at the
    same time slow each other down. Without it, any number."""

    vcpus: VcpuCount | None = Field(default=None, examples=[16])
    """How many vCPUs the VMs there may have in all, before `vcpu_overcommit`; without it, any
    number."""

    vcpu_overcommit: Overcommit = Field(default=1.0, examples=[2.0])
    """Multiplies `vcpus`: 2.0 lets VMs have twice as many."""

    memory: Memory | None = Field(default=None, examples=["64GiB"])
    """How much memory the VMs there may have in all, before `memory_overcommit`; without it, any
    amount."""

    memory_overcommit: Overcommit = Field(default=1.0, examples=[1.5])
    """Multiplies `memory`."""

    drain: Flag = Field(default=False, examples=["true"])
    """With `true`, what runs there finishes and no new VM starts."""

    storage_pool: LibvirtName = Field(examples=["default"])
    """The libvirt storage pool that holds the base images and the overlays of running VMs."""

    saved_state_space: SavedStateSpace = Field(
        default=DEFAULT_SAVED_STATE_SPACE,
        examples=["8GiB"],
        json_schema_extra={"default": "20GiB"},
    )
    """How many bytes of its storage pool the saved states of VMs may take, from which others are
    resumed; when that is used up, those go that were not used for the longest."""

    accelerator: Literal["auto", "kvm", "tcg"] = Field(default="auto", examples=["kvm"])
    """`auto` uses KVM once it has proved to work there, else emulation; `kvm` insists on it; `tcg`
    is emulation, which works everywhere and is slow."""

    address: Address | None = Field(default=None, examples=["192.0.2.1"])
    """Where guests on this host find the master, if not at `master.address`."""

    @property
    def vcpu_budget(self) -> int | None:
        """Return how many vCPUs may be given out in all; ``None`` without a limit."""
        return None if self.vcpus is None else budget(self.vcpus, self.vcpu_overcommit)

    @property
    def memory_budget(self) -> int | None:
        """Return how many bytes of memory may be given out in all; ``None`` without a limit."""
        return None if self.memory is None else budget(self.memory, self.memory_overcommit)


class ImageConfig(Section):
    """Which base image a label's `image` stands for."""

    name: Name | None = Field(default=None, examples=["debian-12"])
    """The name that the image was published under, if it is not the key of this section."""

    digest: Digest | None = Field(default=None, examples=["3f9a0c52d1e7"])
    """Pins one published image by the first 12 or more digits of its digest; without it, a VM gets
    the one published last."""

    volume: LibvirtName | None = Field(default=None, examples=["fedora.qcow2"])
    """A qcow2 volume of the storage pool to use instead of a published image: it must contain the
    launcher, and its BIOS boot is used. Excludes `name` and `digest`."""


class NetworkConfig(Section):
    """How a guest is connected: one of the two keys, or neither for QEMU's user-mode network."""

    network: LibvirtName | None = Field(default=None, examples=["default"])
    """A libvirt network."""

    bridge: Interface | None = Field(default=None, examples=["br0"])
    """A bridge of the host."""

    @property
    def kind(self) -> Literal["user", "network", "bridge"]:
        """Return what connects the guest."""
        if self.network is not None:
            return "network"
        return "bridge" if self.bridge is not None else "user"

    @property
    def source(self) -> str | None:
        """Return the name of the libvirt network or bridge; ``None`` for the user-mode network."""
        return self.network or self.bridge

    @model_serializer
    def _as_written(self) -> str | dict[str, str]:
        return {self.kind: self.source} if self.source is not None else "user"


def _network(value: object) -> object:
    """Take `user` for the network that needs no name."""
    remedy = "write `user`, `{network: NAME}` or `{bridge: NAME}`"
    if value == "user":
        return {}
    if isinstance(value, str):
        raise fault(f"{quoted(value)} is not a kind of network", remedy)
    if isinstance(value, Mapping) and not any(value.values()):
        raise fault("no network is named", remedy)
    if isinstance(value, Mapping) and {"network", "bridge"} <= set(value):
        raise fault("both a network and a bridge are named", "keep one of them")
    return value


class SparePeriod(Section):
    """A part of the week with a separate number of spares."""

    when: Cron = Field(examples=["* 7-18 * * mon-fri"])
    """The minutes that belong to it, as in cron: minute, hour, day of the month, month, day of the
    week."""

    count: VmCount = Field(examples=[4])
    """How many VMs wait for a job then."""


class SparesConfig(Section):
    """How many VMs wait for a job, by the clock; a bare number means always."""

    count: VmCount = Field(default=0, examples=[1])
    """How many VMs wait for a job when no period says otherwise."""

    periods: tuple[SparePeriod, ...] = Field(
        default=(), examples=['[{when: "* 7-18 * * mon-fri", count: 4}]']
    )
    """Times with another number: the first one that matches counts."""

    time_zone: TimeZone = Field(default="UTC", validate_default=True, examples=["Europe/Prague"])
    """The time zone of the periods, by its name in the IANA database."""

    def wanted(self, now: datetime) -> int:
        """Return how many spares there are to be at that moment."""
        if not self.periods:
            return self.count
        there = now.astimezone(zone_info(self.time_zone))
        matching = (period for period in self.periods if croniter.match(period.when, there))
        period = next(matching, None)
        return self.count if period is None else period.count

    @property
    def most(self) -> int:
        """Return how many there are to be at most, at any time."""
        return max([self.count, *(period.count for period in self.periods)])

    @model_serializer
    def _as_written(self) -> int | dict[str, Any]:
        if not self.periods:
            return self.count
        periods = [period.model_dump() for period in self.periods]
        return {"count": self.count, "periods": periods, "time_zone": self.time_zone}


def _spares(value: object) -> object:
    """Take a bare number for the same number at all times."""
    return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value


Spares = Annotated[SparesConfig, BeforeValidator(_spares)]

_NETWORK_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"const": "user"},
        *(
            {
                "type": "object",
                "properties": {key: {"type": "string", "minLength": 1}},
                "required": [key],
                "additionalProperties": False,
            }
            for key in ("network", "bridge")
        ),
    ]
}

Network = Annotated[NetworkConfig, BeforeValidator(_network), WithJsonSchema(_NETWORK_SCHEMA)]


class LabelConfig(Section):
    """What a job asks for: the VM that its builds get."""

    @classmethod
    def hardware_keys(cls) -> frozenset[str]:
        """Return the keys that decide what a guest sees."""
        fields = cls.model_fields.items()
        return frozenset(name for name, field in fields if HARDWARE in field.metadata)

    image: Annotated[str, Strict()] = Field(examples=["debian-12"])
    """A key of `images`, or the name of an image that this package knows how to build."""

    vcpus: Annotated[int, Strict(), Field(ge=1, le=512), HARDWARE] = Field(
        default=DEFAULT_VCPUS, examples=[2]
    )
    """Virtual CPUs."""

    memory: Annotated[Memory, HARDWARE] = Field(
        default=DEFAULT_MEMORY, examples=["2GiB"], json_schema_extra={"default": "512MiB"}
    )
    """Memory of the VM."""

    disk: Annotated[DiskSize | None, HARDWARE] = Field(default=None, examples=["20GiB"])
    """Size of the VM's disk as the guest sees it; without it, that of the image."""

    max_vms: VmCount = Field(default_factory=lambda: MOST_VMS, examples=[4])
    """How many VMs of this label may exist at once: so many workers are made. 0 lets no new one
    start; without it, `master.max_vms`."""

    reserve_for_children: VmCount = Field(default=0, examples=[1])
    """How many of its VMs are kept for builds that another build waits for."""

    drain: Flag = Field(default=False, examples=["true"])
    """With `true`, what runs of it finishes and no new VM starts."""

    hosts: HostNames | None = Field(default=None, examples=[["alpha", "beta"]])
    """Which hosts may run it; without it, all of them."""

    network: Annotated[Network, HARDWARE] = Field(
        default=NetworkConfig(), examples=["{network: default}"]
    )
    """`user` for QEMU's user-mode network (no privileges needed, nothing can reach the guest),
    `{network: NAME}` for a libvirt network, `{bridge: NAME}` for a bridge of the host."""

    address: Address | None = Field(default=None, examples=["192.0.2.1"])
    """Where guests of this label find the master. It comes before the host's `address` and
    `master.address`, and labels on other networks keep theirs."""

    filter: Annotated[LibvirtName | None, HARDWARE] = Field(
        default=None, examples=["clean-traffic"]
    )
    """The libvirt network filter for guests on a `network` or `bridge`, or `none`. Without it,
    `clean-traffic`, where the host and the network can: a guest sends from its own MAC and IPv4
    address, and nothing but IPv4 and ARP. A filter that is named here and is not there is an
    error."""

    start: Literal["resume", "boot"] = Field(default="resume", examples=["boot"])
    """With `resume`, a VM goes on from a saved one that had just booted and waited for its job,
    in about a second; it boots where there is none yet, or where its image cannot do that. With
    `boot`, it always boots."""

    boot_timeout: Timeout = Field(
        default=180.0, examples=["3m"], json_schema_extra={"default": "180s"}
    )
    """How long a VM may take from its start until it waits for a job."""

    attach_timeout: Timeout = Field(
        default=60.0, examples=["90s"], json_schema_extra={"default": "60s"}
    )
    """How long the worker in the VM may take, from then on, to connect to the master."""

    shutdown: Literal["destroy", "graceful"] = Field(default="destroy", examples=["graceful"])
    """What ends a VM after its build: `destroy` is at once, as by pulling the plug; `graceful`
    lets the guest shut down, for `shutdown_timeout`, before that."""

    shutdown_timeout: Timeout = Field(
        default=60.0, examples=["30s"], json_schema_extra={"default": "60s"}
    )
    """How long a graceful shutdown may take."""

    user: UserName = Field(default="worker", examples=["worker"])
    """The user in the guest that builds run as."""

    spares: Spares = Field(
        default_factory=lambda: SparesConfig(count=0),
        examples=[2],
        json_schema_extra={"default": 0},
    )
    """How many VMs are up and wait for a job, within all caps. A job takes one over in an instant
    and another one is started, when no job needs its room. May follow the clock."""

    spare_max_age: LongTime = Field(
        default=86400.0, examples=["8h"], json_schema_extra={"default": "24h"}
    )
    """How long a spare may wait before another one takes its place."""

    max_builds_per_vm: Annotated[int, Strict(), Field(ge=1, le=10_000)] = Field(
        default=1, examples=[10]
    )
    """How many builds one VM may serve, one after the other. More than 1 gives up what this
    package is for: later builds find what earlier ones have left."""

    idle_timeout: Timeout = Field(
        default=60.0, examples=["5m"], json_schema_extra={"default": "60s"}
    )
    """How long a VM that may serve more builds waits for the next one. It goes at once if a job of
    another kind needs its room."""

    hold_on_failure: LongTime | None = Field(default=None, examples=["2h"])
    """How long the VM of a build that fails is kept, to look into it (`latent-libvirt console`);
    without it, not at all."""

    max_held: VmCount = Field(default=1, examples=[2])
    """How many VMs of this label may be held at once because a build has failed."""

    max_lifetime: LongTime | None = Field(default=None, examples=["6h"])
    """How long a VM may live from the moment its worker has attached. Then it is destroyed,
    whatever its build does, and the build ends as EXCEPTION; without it, there is no limit."""

    cancel_timeout: Timeout = Field(
        default=30.0, examples=["2m"], json_schema_extra={"default": "30s"}
    )
    """How long a step may take to end when its build is cancelled. Then its VM is destroyed."""

    launch_attempts: Annotated[int, Strict(), Field(ge=1, le=100)] = Field(default=3, examples=[5])
    """How many VMs of this label one job may lose before it is given up."""


class PoolConfig(Section):
    """All of ``pool.yaml``."""

    master: MasterConfig
    """What the master allows and where guests find it."""

    hosts: SomeByName[HostConfig]
    """The hypervisors, by names of your choice."""

    images: ByName[ImageConfig] = Field(default_factory=lambda: MappingProxyType({}))
    """Base images that are pinned, renamed or volumes of your own; all others need no entry."""

    labels: SomeByName[LabelConfig]
    """What jobs may ask for, by names of your choice: builders' ``workernames`` come from them."""

    def __hash__(self) -> int:
        sections = (self.hosts, self.images, self.labels)
        return hash((self.master, *(frozenset(section.items()) for section in sections)))

    def image_for(self, label: LabelConfig) -> ImageConfig:
        """Return the image of *label*, with its published name unless it is a volume."""
        image = self.images.get(label.image, ImageConfig())
        if image.volume is not None or image.name is not None:
            return image
        return image.model_copy(update={"name": label.image})

    def hosts_for(self, label_name: str) -> tuple[str, ...]:
        """Return the names of the hosts that may run the label of that name.

        :raises KeyError: if there is no such label.
        """
        hosts = self.labels[label_name].hosts
        return tuple(self.hosts) if hosts is None else hosts

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Tell what does not agree across sections together with what is wrong in each."""
        if not isinstance(data, Mapping):
            return handler(data)
        faults = list(references.faults(data))
        try:
            config = handler(_with_caps(data))
        except ValidationError as error:
            if not faults:
                raise
            details = [_again(line) for line in error.errors()]
            details += [InitErrorDetails(type=f, loc=loc, input=None) for loc, f in faults]
            raise ValidationError.from_exception_data(cls.__name__, details) from None
        raise_located(cls.__name__, faults)
        return config


def _again(line: Any) -> InitErrorDetails:
    """Return an error of a ValidationError in the form that makes it one of another."""
    kind, context = line["type"], line.get("ctx", {})
    if kind == FAULT:
        kind = fault(context["what"], context["remedy"])
    return InitErrorDetails(type=kind, loc=line["loc"], input=line["input"], ctx=context)


def _with_caps(data: Any) -> Any:
    """Give each label that says nothing else the cap of the master."""
    master, labels = data.get("master"), data.get("labels")
    if not isinstance(master, Mapping) or not isinstance(labels, Mapping):
        return data
    cap = master.get("max_vms")
    if type(cap) is not int or not 0 <= cap <= MOST_VMS:
        return data
    filled = {
        name: {"max_vms": cap, **label} if isinstance(label, Mapping) else label
        for name, label in labels.items()
    }
    return {**data, "labels": filled}
