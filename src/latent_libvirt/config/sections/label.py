# SPDX-License-Identifier: GPL-2.0-only
"""A section of ``labels``: a kind of VM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    Strict,
    WithJsonSchema,
    model_validator,
)

from latent_libvirt.config.domain_fragment import fragment
from latent_libvirt.config.fields.addresses import Address
from latent_libvirt.config.fields.base import OrSection, Written
from latent_libvirt.config.fields.hardware import Cpu, Machine
from latent_libvirt.config.fields.names import HostNames, LibvirtName, UserName
from latent_libvirt.config.fields.numbers import (
    DEFAULT_VCPUS,
    MOST_VCPUS_OF_A_VM,
    MOST_VMS,
    Flag,
    VmCount,
)
from latent_libvirt.config.fields.sizes import DEFAULT_MEMORY, DiskSize, Memory
from latent_libvirt.config.fields.times import LongTime, Timeout
from latent_libvirt.config.hardware.architecture_rules import filled
from latent_libvirt.config.hardware.choice import (
    Choice,
    MemoryRange,
    VcpuRange,
    default_of,
)
from latent_libvirt.config.hardware.devices import DeviceNames
from latent_libvirt.config.hardware.disks import Disks
from latent_libvirt.config.section import HARDWARE, Section
from latent_libvirt.config.sections.network import Network, NetworkConfig
from latent_libvirt.config.sections.spares import Spares, SparesConfig
from latent_libvirt.config.units import SIZE_PATTERN
from latent_libvirt.images.architectures import Architecture


def _number_or_range(number: dict[str, Any], model: type[Section]) -> WithJsonSchema:
    return WithJsonSchema({"oneOf": [number, model.model_json_schema()]})


Vcpus = Annotated[
    int,
    Strict(),
    Field(ge=1, le=MOST_VCPUS_OF_A_VM),
    BeforeValidator(default_of(VcpuRange)),
    _number_or_range({"type": "integer", "minimum": 1, "maximum": MOST_VCPUS_OF_A_VM}, VcpuRange),
    Written("number or section"),
    OrSection(VcpuRange),
]

ChosenMemory = Annotated[
    Memory,
    BeforeValidator(default_of(MemoryRange)),
    _number_or_range({"type": "string", "pattern": SIZE_PATTERN}, MemoryRange),
    Written("size or section"),
    OrSection(MemoryRange),
]

Fragment = Annotated[str, Strict(), AfterValidator(fragment), Written("elements of domain XML")]


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
    `maximum`, or QEMU's plain 64-bit processor if their image is booted by its kernel, or
    `cortex-a72` with `arch: aarch64`."""

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
    """Longest time that a spare waits before another one replaces it, at most `30d`."""

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
    as asciicast. What is typed is not kept, except where the guest shows it. A terminal ends when
    its recording has 1 MiB."""

    hold_on_failure: LongTime | None = Field(default=None, examples=["2h"])
    """Time for which the VM of a failed build is kept for an operator to look into, at most `30d`.
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
    """Longest life of a VM from the moment its worker has attached, at most `30d`. Then the VM is
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


class LabelDefaults(LabelConfig):
    """Keys that all labels have unless they say otherwise."""

    image: Annotated[str, Strict()] = ""
