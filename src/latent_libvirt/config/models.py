# SPDX-License-Identifier: GPL-2.0-only
"""Models of ``pool.yaml``: each key with its type, its default, its meaning and an example.

The descriptions are for people. The JSON schema and docs/reference/configuration.md have them.
``fields.py`` checks single values, ``references.py`` what has to agree across sections.

Everything is immutable and compares by value: by ``==``, a reconfig sees what has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from croniter import croniter
from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    Strict,
    ValidationError,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails

from latent_libvirt.config import references
from latent_libvirt.config.budgets import budget
from latent_libvirt.config.defaults import merged
from latent_libvirt.config.destinations import (
    ALLOW_SCHEMA,
    Destinations,
    Group,
    ready_made_group,
)
from latent_libvirt.config.faults import FAULT, fault, raise_located
from latent_libvirt.config.fields import (
    DEFAULT_FETCH_CACHE,
    DEFAULT_MEMORY,
    DEFAULT_SAVED_STATE_SPACE,
    DEFAULT_VCPUS,
    KEY_EXAMPLE,
    MOST_VCPUS_OF_A_VM,
    MOST_VMS,
    Address,
    ByName,
    CacheSpace,
    Cpu,
    CpuSets,
    Cron,
    Digest,
    DiskSize,
    Flag,
    Fragment,
    HostNames,
    Interface,
    IpAndPort,
    LibvirtName,
    LongTime,
    Machine,
    Memory,
    Name,
    Overcommit,
    Paths,
    PublicKeys,
    SavedStateSpace,
    Share,
    SomeByName,
    Timeout,
    TimeZone,
    Uri,
    UserName,
    VcpuCount,
    VmCount,
    Written,
    zone_info,
)
from latent_libvirt.config.hardware.architecture_rules import filled
from latent_libvirt.config.hardware.choice import (
    Choice,
    MemoryRange,
    VcpuRange,
    default_of,
)
from latent_libvirt.config.hardware.devices import DeviceNames, HostDevices, slots_with
from latent_libvirt.config.hardware.disks import Disks
from latent_libvirt.config.section import HARDWARE, Section
from latent_libvirt.config.text import quoted
from latent_libvirt.config.units import SIZE_PATTERN
from latent_libvirt.images.architectures import Architecture

if TYPE_CHECKING:
    from latent_libvirt.config.destinations import (
        DestinationConfig,
    )


class MasterConfig(Section):
    """The Buildbot master that the pool belongs to."""

    max_vms: VmCount = Field(examples=[12])
    """Cap on VMs at one time, over all hosts and labels. With `0`, no new VM starts."""

    name: Name | None = Field(default=None, examples=["fast"])
    """Prefix of the names of all workers, as in `fast-debian-12-1`. Masters that share a database
    need different ones."""

    address: Address | None = Field(default=None, examples=["buildbot.example.org"])
    """Host name or IP address of the master, as guests see it. The port comes from
    `c["protocols"]`. Without this key, guests use the gateway of their network, which is right if
    the master runs on the hypervisor. Guests on a `bridge` have no such gateway. The `address` of a
    label or host comes before this one."""

    placement: Literal["spread", "pack"] = Field(default="spread", examples=["pack"])
    """Choice among several hosts with room. `spread` takes the host with room for the most VMs of
    the label. `pack` takes the host with room for the fewest, so that other hosts stay empty, for
    large VMs or to be switched off."""

    domain_xml_paths: Paths = Field(default=(), examples=["[/srv/vms]"])
    """Directories, and files, of hosts that `domain_xml` of a label may name. Without this key, it
    may name no path."""

    metrics: IpAndPort | None = Field(default=None, examples=["127.0.0.1:9177"])
    """IP address and port at which the pool serves its metrics, under `/metrics`. An IPv6 address
    needs quotes, as in `'[::1]:9177'`. Anybody who reaches the address can read them. Without this
    key, they are not served."""

    require_signed: PublicKeys | None = Field(default=None, examples=[KEY_EXAMPLE])
    """Public ssh key, or a list of them, of which one must have signed each image. `latent-libvirt
    image sign` signs one. An image's `require_signed` comes before this one. Images that are
    volumes cannot be signed, and are refused."""

    fetch_cache: CacheSpace = Field(
        default=DEFAULT_FETCH_CACHE, examples=["10GiB"], json_schema_extra={"default": "1GiB"}
    )
    """Space on the master's disk for packages that builds have fetched by a label's `allow`. The
    next build gets them from there. When the space is used up, those go that were not used for the
    longest time. With `0MiB`, none is kept."""

    stop_within: Timeout = Field(default=3.0, examples=["10m"], json_schema_extra={"default": "3s"})
    """Time that builds have to finish when the master stops. A build that still runs then ends as
    RETRY, and runs again when the master is back. `buildbot stop` and `buildbot restart` wait for
    10 s only. One of several masters uses `stop_within` of its `Common` instead."""


class HostConfig(Section):
    """One hypervisor."""

    uri: Uri = Field(examples=["qemu+ssh://buildbot@alpha/system"])
    """URI by which libvirt connects to the host. No two hosts may have the same."""

    slots: VmCount = Field(examples=[8])
    """Cap on VMs on the host at one time, of all masters that use it. With `0`, no new VM
    starts."""

    max_starting: Annotated[int, Strict(), Field(ge=1, le=MOST_VMS)] | None = Field(
        default=None, examples=[4]
    )
    """Cap on VMs that start at the same time, until they wait for a job. VMs that boot at the same
    time slow each other down, so one per processor is a good first value. Without this key, there
    is no cap."""

    vcpus: VcpuCount | None = Field(default=None, examples=[16])
    """vCPUs that the VMs may have in all, before `vcpu_overcommit`. Without this key, only `slots`
    counts."""

    vcpu_overcommit: Overcommit = Field(default=1.0, examples=[2.0])
    """Factor for `vcpus`, from `0.1` to `100.0`. With `2.0`, VMs may have twice as many."""

    memory: Memory | None = Field(default=None, examples=["64GiB"])
    """Memory that the VMs may have in all, before `memory_overcommit`. Leave some for the host, and
    50 MiB for each QEMU. Without this key, only `slots` counts."""

    memory_overcommit: Overcommit = Field(default=1.0, examples=[1.5])
    """Factor for `memory`, like `vcpu_overcommit`."""

    pinned_cpus: CpuSets = Field(default=(), examples=["['2-3', '4-5']"])
    """CPUs of the host for VMs with `cpu_pinning`, a set for each slot. A VM has the set of its
    slot. All masters that share the host need the same sets. Drain it before you change them."""

    devices: HostDevices = Field(
        default=(), examples=["[{name: gpu, addresses: ['0000:01:00.0']}]"]
    )
    """PCI and USB devices of the host for VMs whose label asks for them. All masters that share the
    host need the same."""

    drain: Flag = Field(default=False, examples=["true"])
    """With `true`, VMs that run there finish, and no new one starts."""

    storage_pool: LibvirtName = Field(examples=["default"])
    """libvirt storage pool for the base images and the overlays of VMs."""

    saved_state_space: SavedStateSpace = Field(
        default=DEFAULT_SAVED_STATE_SPACE,
        examples=["8GiB"],
        json_schema_extra={"default": "20GiB"},
    )
    """Space that saved states may take in the storage pool. Each slot and label needs 150 to 300
    MiB. When the space is used up, the pool deletes the states that were not used for the longest
    time."""

    frozen_space: SavedStateSpace = Field(
        default=DEFAULT_SAVED_STATE_SPACE,
        examples=["100GiB"],
        json_schema_extra={"default": "20GiB"},
    )
    """Space that frozen VMs may take in the storage pool, with their disks. A VM for which not
    enough is left is held in its slot."""

    accelerator: Literal["auto", "kvm", "tcg"] = Field(default="auto", examples=["kvm"])
    """`auto` tries KVM at the first start on the host. If KVM does not work there, it uses
    emulation, and the log says so. `kvm` refuses emulation. `tcg` is emulation, which works
    everywhere and is slow."""

    address: Address | None = Field(default=None, examples=["192.0.2.1"])
    """Host name or IP address of the master, as guests on this host see it. It comes before
    `master.address`. A label's `address` comes before it."""

    @property
    def vcpu_budget(self) -> int | None:
        """Return how many vCPUs may be given out in all; ``None`` without a limit."""
        return None if self.vcpus is None else budget(self.vcpus, self.vcpu_overcommit)

    @property
    def memory_budget(self) -> int | None:
        """Return how many bytes of memory may be given out in all; ``None`` without a limit."""
        return None if self.memory is None else budget(self.memory, self.memory_overcommit)


class ImageConfig(Section):
    """A base image that a label's `image` names."""

    name: Name | None = Field(default=None, examples=["debian-12"])
    """Name under which the image was published, if it is not the key of this section."""

    digest: Digest | None = Field(default=None, examples=["3f9a0c52d1e7"])
    """First 12 or more digits of an image's digest, which pin the image. `latent-libvirt image
    list` shows the digests. Without this key, each new VM uses the image that was published
    last."""

    volume: LibvirtName | None = Field(default=None, examples=["fedora.qcow2"])
    """qcow2 volume of the storage pool that contains the launcher, in place of a published image.
    The VM's BIOS boots it. Excludes `name` and `digest`."""

    canary: Share | None = Field(default=None, examples=["10%"])
    """Share of the VMs that take a newly published version of the image, until it is accepted or
    withdrawn. Without this key, all new VMs take it at once. Excludes `digest`."""

    require_signed: PublicKeys | None = Field(default=None, examples=[KEY_EXAMPLE])
    """Public ssh key, or a list of them, of which one must have signed the image. The image is
    compared with its digest before a VM starts from it, and again when its volumes change. It comes
    before `master.require_signed`."""


class NetworkConfig(Section):
    """A guest's network: one of the keys, or none of them for QEMU's user-mode network."""

    network: LibvirtName | None = Field(default=None, examples=["default"])
    """Name of a libvirt network of the host."""

    bridge: Interface | None = Field(default=None, examples=["br0"])
    """Name of a bridge of the host."""

    allow: Destinations | None = Field(default=None, examples=["[debian, files.example.org:443]"])
    """All that the guest can reach, through its master. The guest has no network card, so it
    excludes `connection: tcp`."""

    @property
    def kind(self) -> Literal["user", "network", "bridge", "none"]:
        """Return what the guest's network card is connected to; `none` if it has no card."""
        if self.allow is not None:
            return "none"
        if self.network is not None:
            return "network"
        return "bridge" if self.bridge is not None else "user"

    @property
    def source(self) -> str | None:
        """Return the name of the libvirt network or bridge; ``None`` for the user-mode network."""
        return self.network or self.bridge

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        if self.allow is not None:
            return {"allow": [destination.model_dump() for destination in self.allow]}
        return {self.kind: self.source} if self.source is not None else self.kind


class NoNetworkConfig(NetworkConfig):
    """No network: the guest has no network card."""

    @property
    def kind(self) -> Literal["none"]:
        """Return that nothing connects the guest."""
        return "none"


def _network(value: object) -> object:
    """Take `user` and `none` for the networks that need no name."""
    remedy = "write `user`, `none`, `{network: NAME}`, `{bridge: NAME}` or `{allow: [...]}`"
    if value == "user":
        return {}
    if value == "none":
        return NoNetworkConfig()
    if isinstance(value, str):
        raise fault(f"{quoted(value)} is not a kind of network", remedy)
    if isinstance(value, Mapping) and not any(value.values()) and value.get("allow") is None:
        raise fault("no network is named", remedy)
    if isinstance(value, Mapping) and {"network", "bridge"} <= set(value):
        raise fault("both a network and a bridge are named", "keep one of them")
    if isinstance(value, Mapping) and "allow" in value and {"network", "bridge"} & set(value):
        raise fault("`allow` is for guests without a network", "keep one of the two keys")
    return value


class SparePeriod(Section):
    """A part of the week with a separate number of spares."""

    when: Cron = Field(examples=["* 7-18 * * mon-fri"])
    """Minutes that belong to the period, as in cron (minute, hour, day of the month, month, day of
    the week). A time that never comes, such as `0 0 30 2 *`, is refused."""

    count: VmCount = Field(examples=[4])
    """Number of spares in the period."""


class SparesConfig(Section):
    """A number of spares that follows the clock; a bare number counts at all times."""

    count: VmCount = Field(default=0, examples=[1])
    """Number of spares outside all periods."""

    periods: tuple[SparePeriod, ...] = Field(
        default=(), examples=['[{when: "* 7-18 * * mon-fri", count: 4}]']
    )
    """Times with another number of spares. The first period that matches counts."""

    time_zone: TimeZone = Field(default="UTC", validate_default=True, examples=["Europe/Prague"])
    """Time zone of the periods, by its name in the IANA database. Summer time is respected."""

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


Spares = Annotated[SparesConfig, BeforeValidator(_spares), Written("number or section")]

_NETWORK_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"enum": ["user", "none"]},
        *(
            {
                "type": "object",
                "properties": {key: {"type": "string", "minLength": 1}},
                "required": [key],
                "additionalProperties": False,
            }
            for key in ("network", "bridge")
        ),
        {
            "type": "object",
            "properties": {"allow": ALLOW_SCHEMA},
            "required": ["allow"],
            "additionalProperties": False,
        },
    ]
}

Network = Annotated[
    NetworkConfig,
    BeforeValidator(_network),
    WithJsonSchema(_NETWORK_SCHEMA),
    Written("`user`, `none`, `{network: NAME}`, `{bridge: NAME}`, `{allow: [...]}`"),
]


def _number_or_range(number: dict[str, Any], model: type[Section]) -> WithJsonSchema:
    return WithJsonSchema({"oneOf": [number, model.model_json_schema()]})


Vcpus = Annotated[
    int,
    Strict(),
    Field(ge=1, le=MOST_VCPUS_OF_A_VM),
    BeforeValidator(default_of(VcpuRange)),
    _number_or_range({"type": "integer", "minimum": 1, "maximum": MOST_VCPUS_OF_A_VM}, VcpuRange),
    Written("number or section"),
]
ChosenMemory = Annotated[
    Memory,
    BeforeValidator(default_of(MemoryRange)),
    _number_or_range({"type": "string", "pattern": SIZE_PATTERN}, MemoryRange),
    Written("size or section"),
]


class LabelConfig(Section):
    """A kind of VM that jobs ask for."""

    _choice: Choice = PrivateAttr(default_factory=Choice)

    @property
    def choice(self) -> Choice:
        """What builds may choose of the size."""
        return self._choice

    @model_validator(mode="wrap")
    @classmethod
    def _with_choice(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        label = handler(filled(data) if isinstance(data, Mapping) else data)
        if isinstance(data, Mapping):
            label._choice = Choice.of(data)  # noqa: SLF001 - it is made here
        return label

    @classmethod
    def hardware_keys(cls) -> frozenset[str]:
        """Return the keys that decide what a guest sees."""
        fields = cls.model_fields.items()
        return frozenset(name for name, field in fields if HARDWARE in field.metadata)

    image: Annotated[str, Strict()] = Field(examples=["debian-12"])
    """Key of `images`, or the name of an image that this package can build."""

    arch: Annotated[Architecture, HARDWARE] = Field(default="x86_64", examples=["aarch64"])
    """Architecture of the VM, which has to be that of its image. A host of another one emulates it,
    if it has QEMU for that. Hosts that cannot run it get no VM of the label."""

    vcpus: Annotated[Vcpus, HARDWARE] = Field(default=DEFAULT_VCPUS, examples=[2])
    """Number of virtual CPUs. A host with fewer processors gets no VM of the label. With `{min: 1,
    max: 8, default: 2}`, the property `vcpus` of a build chooses it."""

    memory: Annotated[ChosenMemory, HARDWARE] = Field(
        default=DEFAULT_MEMORY, examples=["2GiB"], json_schema_extra={"default": "512MiB"}
    )
    """Memory of the VM, at least `32MiB`. A host with less gets no VM of the label. With `{min:
    1GiB, max: 8GiB, default: 2GiB}`, the property `memory_mib` of a build chooses it."""

    disk: Annotated[DiskSize | None, HARDWARE] = Field(default=None, examples=["20GiB"])
    """Size of the disk as the guest sees it, not less than the image's. Without this key, the size
    of the image's disk."""

    disks: Annotated[Disks, HARDWARE] = Field(default=(), examples=["[{name: cache, size: 20GiB}]"])
    """Disks beside the first one, at most 16. What a VM writes to them is gone with it."""

    cpu: Annotated[Cpu | None, HARDWARE] = Field(default=None, examples=["host -avx512f"])
    """Processor that the guest sees: `host`, `host-model`, `maximum` or a model of libvirt's. `+`
    and `-` before a feature give it or take it away. Emulation gives `maximum` in place of `host`
    and `host-model`. Without this key, guests have the host's under KVM. Under emulation they have
    QEMU's plain 64-bit processor, or `cortex-a72` with `arch: aarch64`."""

    machine: Annotated[Machine, HARDWARE] = Field(default="q35", examples=["pc-q35-7.2"])
    """QEMU's machine. With `arch: aarch64`, the default is `virt`, and nothing is possible but that
    and its versions, such as `virt-7.2`."""

    firmware: Annotated[Literal["bios", "uefi", "uefi-secure"], HARDWARE] = Field(
        default="bios", examples=["uefi"]
    )
    """Firmware of the VM. `uefi` and `uefi-secure` need OVMF on the host. `uefi-secure` starts only
    what is signed by keys that OVMF knows. What a VM writes to its variables is gone with it. With
    `arch: aarch64`, the default is `uefi`, and nothing else is possible."""

    devices: Annotated[DeviceNames, HARDWARE] = Field(default=(), examples=["[gpu]"])
    """Names of `devices` of the hosts, each of which the VM has alone. A VM runs only in slots that
    have all of them. That needs `start: boot`."""

    hugepages: Annotated[Flag, HARDWARE] = Field(default=False, examples=["true"])
    """With `true`, the memory of the VM is in huge pages of the host, of their default size. The
    host has to have as many free."""

    cpu_pinning: Annotated[Flag, HARDWARE] = Field(default=False, examples=["true"])
    """With `true`, each vCPU has a CPU of the host that no other VM with this key has. The hosts of
    the label need `pinned_cpus`, with as many CPUs for each slot as the VM has vCPUs."""

    tpm: Annotated[Flag, HARDWARE] = Field(default=False, examples=["true"])
    """With `true`, the VM has a TPM 2.0 that nobody has used before. It needs swtpm on the host."""

    graphics: Annotated[Flag, HARDWARE] = Field(default=False, examples=["true"])
    """With `true`, the VM has a screen. The page "VMs" shows pictures of it, and the last one of a
    build that fails is kept with its data. The host listens nowhere for it."""

    domain_xml: Annotated[Fragment | None, HARDWARE] = Field(
        default=None,
        examples=['<devices><watchdog model="i6300esb" action="poweroff"/></devices>'],
    )
    """Elements that the VM's domain XML gets as well, as they stand below `<domain>`. A device is
    added to the others. Any other element is merged with the one of its name. What the pool owns is
    refused, such as the name, the memory and the first disk."""

    max_vms: VmCount = Field(default_factory=lambda: MOST_VMS, examples=[4])
    """Cap on VMs of the label at one time. The pool makes as many workers. With `0`, no new VM
    starts."""

    reserve_for_children: VmCount = Field(default=0, examples=[1])
    """Number of the label's VMs that are kept for builds that another build waits for."""

    drain: Flag = Field(default=False, examples=["true"])
    """With `true`, running VMs of the label finish, no new one starts, and its jobs wait."""

    hosts: HostNames | None = Field(default=None, examples=[["alpha", "beta"]])
    """Hosts that may run VMs of the label. Without this key, all of them."""

    network: Annotated[Network, HARDWARE] = Field(
        default=NetworkConfig(), examples=["{network: default}"]
    )
    """`user` is QEMU's user-mode network, which needs no privileges and lets nothing reach the
    guest. `network` names a libvirt network, and `bridge` names a bridge of the host. With `none`,
    the guest has no network card, which excludes `connection: tcp`. With `allow`, it has none
    either, and reaches what is listed there through its master."""

    connection: Annotated[Literal["channel", "tcp"], HARDWARE] = Field(
        default="channel", examples=["tcp"]
    )
    """Way of the worker to its master. With `channel`, its connection goes through a virtio-serial
    channel of the VM and libvirt, and needs no network. An image whose launcher knows no channel
    goes on by `tcp`, and the log says so. With `tcp`, it connects by the guest's network."""

    address: Address | None = Field(default=None, examples=["192.0.2.1"])
    """Host name or IP address of the master, as guests of this label see it. It comes before the
    host's `address` and `master.address`, so that labels on other networks keep theirs."""

    filter: Annotated[LibvirtName | None, HARDWARE] = Field(
        default=None, examples=["clean-traffic"]
    )
    """libvirt network filter for guests on a `network` or `bridge`, or `none`. Without this key, it
    is `clean-traffic` where the host and the network support that, and otherwise none, with a
    warning. `clean-traffic` lets a guest send IPv4 and ARP only, from its own MAC and IPv4 address.
    A filter that is named here has to exist on the host."""

    start: Literal["resume", "boot"] = Field(default="resume", examples=["boot"])
    """With `resume`, a VM continues from a saved state of a booted VM, in about a second. It boots
    where there is no saved state yet, or if its image cannot be resumed. With `boot`, it always
    boots."""

    boot_timeout: Timeout = Field(
        default=180.0, examples=["3m"], json_schema_extra={"default": "180s"}
    )
    """Longest time from the VM's start until it waits for a job."""

    attach_timeout: Timeout = Field(
        default=60.0, examples=["90s"], json_schema_extra={"default": "60s"}
    )
    """Longest time that the worker in a VM that is up may take to connect to the master."""

    shutdown: Literal["destroy", "graceful"] = Field(default="destroy", examples=["graceful"])
    """End of a VM after its build. `destroy` stops it at once, like a power failure. `graceful`
    first lets the guest shut down, for `shutdown_timeout` at most."""

    shutdown_timeout: Timeout = Field(
        default=60.0, examples=["30s"], json_schema_extra={"default": "60s"}
    )
    """Longest time for a graceful shutdown."""

    user: UserName = Field(default="worker", examples=["worker"])
    """User in the guest that builds run as. The image must have it."""

    spares: Spares = Field(
        default_factory=lambda: SparesConfig(count=0),
        examples=[2],
        json_schema_extra={"default": 0},
    )
    """Number of VMs that are up and wait for a job, within all caps. A section makes the number
    follow the clock."""

    spare_max_age: LongTime = Field(
        default=86400.0, examples=["8h"], json_schema_extra={"default": "24h"}
    )
    """Longest time that a spare waits before another one replaces it, at most `720h`."""

    max_builds_per_vm: Annotated[int, Strict(), Field(ge=1, le=10_000)] = Field(
        default=1, examples=[10]
    )
    """Builds that one VM may serve, one after the other. With more than `1`, later builds find the
    files of earlier ones, and the VM is not clean any more."""

    idle_timeout: Timeout = Field(
        default=60.0, examples=["5m"], json_schema_extra={"default": "60s"}
    )
    """Longest time that a VM that may serve more builds waits for the next one. The VM ends at
    once if a job of another kind needs its room."""

    record_terminals: Flag = Field(default=False, examples=["true"])
    """With `true`, what an operator sees in a terminal of a VM is kept with the data of its build,
    as asciicast. What is typed is not kept, except where the guest shows it."""

    hold_on_failure: LongTime | None = Field(default=None, examples=["2h"])
    """Time for which the VM of a failed build is kept for an operator to look into, at most `720h`.
    Without this key, it is not kept."""

    freeze: Flag = Field(default=False, examples=["true"])
    """With `true`, a VM that `hold_on_failure` keeps is frozen. Its memory and disk are saved on
    its host, and its slot is free. `latent-libvirt thaw` continues it. What the build was given as
    a secret is in that memory."""

    export: Flag = Field(default=False, examples=["true"])
    """With `true`, `latent-libvirt export` may pack frozen VMs of the label into files, with all
    that their memory has."""

    max_held: VmCount = Field(default=1, examples=[2])
    """Cap on VMs of the label that are held at one time because their builds failed. Frozen VMs do
    not count."""

    max_lifetime: LongTime | None = Field(default=None, examples=["6h"])
    """Longest life of a VM from the moment its worker has attached, at most `720h`. Then the VM is
    destroyed, whatever its build does, and the build ends as EXCEPTION. A VM that has lived for
    half of that time serves no further build. Without this key, there is no limit."""

    cancel_timeout: Timeout = Field(
        default=30.0, examples=["2m"], json_schema_extra={"default": "30s"}
    )
    """Longest time that a step may take to end when its build is cancelled. Then the VM is
    destroyed. Steps with a `sigtermTime` need a longer one."""

    launch_attempts: Annotated[int, Strict(), Field(ge=1, le=100)] = Field(default=3, examples=[5])
    """VMs of the label that one job may lose, because they do not boot or die. After the last one
    the job ends as EXCEPTION."""


def _no_default(_: object) -> str:
    raise fault("no two hosts have the same URI", "write it in each host")


class HostDefaults(HostConfig):
    """Keys that all hosts have unless they say otherwise."""

    uri: Annotated[str, BeforeValidator(_no_default)] = Field(default="", exclude=True)
    slots: VmCount = 0
    storage_pool: LibvirtName = ""


class LabelDefaults(LabelConfig):
    """Keys that all labels have unless they say otherwise."""

    image: Annotated[str, Strict()] = ""


class DefaultsConfig(Section):
    """Keys that hosts and labels have unless they say otherwise."""

    hosts: HostDefaults = Field(
        default_factory=HostDefaults, examples=["{storage_pool: builds, slots: 8}"]
    )
    """Keys of all hosts: any of `hosts` but `uri`."""

    labels: LabelDefaults = Field(
        default_factory=LabelDefaults, examples=["{memory: 2GiB, vcpus: 2}"]
    )
    """Keys of all labels: any of `labels`."""


class PoolConfig(Section):
    """All of ``pool.yaml``."""

    master: MasterConfig
    """The Buildbot master that the pool belongs to."""

    hosts: SomeByName[HostConfig]
    """The hypervisors, by names of your choice."""

    images: ByName[ImageConfig] = Field(default_factory=lambda: MappingProxyType({}))
    """Base images that are pinned, renamed or volumes of your own; all others need no entry."""

    network_groups: ByName[Group] = Field(default_factory=lambda: MappingProxyType({}))
    """Lists of destinations that a label's `allow` names. They replace ready-made groups of the
    same name."""

    labels: SomeByName[LabelConfig]
    """Kinds of VMs that jobs ask for, by names of your choice."""

    defaults: DefaultsConfig = Field(default_factory=DefaultsConfig, exclude=True)
    """Keys that all hosts or all labels have unless they say otherwise."""

    def __hash__(self) -> int:
        sections = (self.hosts, self.images, self.network_groups, self.labels)
        return hash((self.master, *(frozenset(section.items()) for section in sections)))

    @property
    def uses_tcp(self) -> bool:
        """Whether workers of any label connect to the master's port."""
        return any(label.connection == "tcp" for label in self.labels.values())

    def image_for(self, label: LabelConfig) -> ImageConfig:
        """Return the image of *label*, with its published name unless it is a volume."""
        image = self.images.get(label.image, ImageConfig())
        keys = image.require_signed or self.master.require_signed
        if image.volume is not None:
            return image
        return image.model_copy(update={"name": image.name or label.image, "require_signed": keys})

    def destinations_of(self, label: LabelConfig) -> tuple[DestinationConfig, ...]:
        """Return the names and ports that guests of *label* may reach through their master."""
        found: list[DestinationConfig] = []
        for item in label.network.allow or ():
            found += [item] if item.group is None else self._group(item.group)
        return tuple(dict.fromkeys(found))

    def _group(self, name: str) -> tuple[DestinationConfig, ...]:
        group = self.network_groups.get(name)
        return ready_made_group(name) if group is None else group

    def hosts_for(self, label_name: str) -> tuple[str, ...]:
        """Return the names of the hosts that may run the label of that name.

        :raises KeyError: if there is no such label.
        """
        hosts = self.labels[label_name].hosts
        return tuple(self.hosts) if hosts is None else hosts

    def slots_with_devices(self, label_name: str) -> dict[str, int]:
        """Return the last slot of each host that a VM may have which needs devices.

        It is empty for a label that needs none, whose VMs may have any slot.
        """
        wanted = self.labels[label_name].devices
        hosts = self.hosts_for(label_name) if wanted else ()
        return {host: slots_with(self.hosts[host].devices, wanted) for host in hosts}

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Report what does not agree across sections together with what is wrong in each."""
        if not isinstance(data, Mapping):
            return handler(data)
        data = merged(data, {"hosts": HostDefaults, "labels": LabelDefaults})
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
