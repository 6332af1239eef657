# SPDX-License-Identifier: GPL-2.0-only
"""Disks of a label's VMs beside the first one: empty, based on a volume, or a volume to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from latent_libvirt.config.faults import fault, raise_located
from latent_libvirt.config.fields.base import Written
from latent_libvirt.config.fields.names import LibvirtName, Name
from latent_libvirt.config.fields.numbers import Flag
from latent_libvirt.config.fields.sizes import DiskSize
from latent_libvirt.config.hardware.disk_names import MOST_DISKS
from latent_libvirt.config.section import Section
from latent_libvirt.config.text import quoted

if TYPE_CHECKING:
    from pydantic_core import PydanticCustomError

    from latent_libvirt.config.text import Location

_LONGEST_SERIAL: Final = 20
"""Bytes that a virtio disk has for its serial number."""


def _serial(name: str) -> str:
    if len(name) > _LONGEST_SERIAL:
        what = f"{quoted(name)} is too long for the serial number of a disk"
        raise fault(what, f"write at most {_LONGEST_SERIAL} characters")
    return name


class DiskConfig(Section):
    """A disk beside the first one."""

    name: Annotated[Name, AfterValidator(_serial)] = Field(examples=["cache"])
    """Serial number of the disk, by which the guest finds it, as `/dev/disk/by-id/virtio-cache`. It
    has at most 20 characters."""

    size: DiskSize | None = Field(default=None, examples=["20GiB"])
    """Size as the guest sees it. Without `volume`, the disk is empty. With it, the size is never
    less than the volume's."""

    volume: LibvirtName | None = Field(default=None, examples=["sources.qcow2"])
    """Volume of the storage pool that the disk begins with. It has to be a qcow2. Each VM writes
    to a separate overlay, and the volume does not change."""

    read_only: Flag = Field(default=False, examples=["true"])
    """With `true`, guests may only read the disk. They get the volume without an overlay, and it
    may be raw, such as an ISO image."""


def _fault(disk: Mapping[str, Any]) -> tuple[str, PydanticCustomError] | None:
    if disk.get("read_only") is True and disk.get("size") is not None:
        return "size", fault("a disk that is only read cannot grow", "remove one of the two keys")
    if disk.get("volume") is not None:
        return None
    if disk.get("read_only") is True:
        return "read_only", fault("an empty disk is no use to read", "name its `volume`")
    if disk.get("size") is None:
        remedy = "write `size: 20GiB` for an empty one, or name its `volume`"
        return "name", fault("the disk has neither a size nor a volume", remedy)
    return None


def _whole(value: object) -> object:
    """Refuse what is no disk, at the key that is wrong."""
    if isinstance(value, Mapping) and (found := _fault(value)) is not None:
        raise_located("disk", [((found[0],), found[1])])
    return value


def _list(value: object) -> object:
    if isinstance(value, str | Mapping):
        raise fault("this is not a list", "write it so: [{name: cache, size: 20GiB}]")
    return value


def _each_once(disks: tuple[DiskConfig, ...]) -> tuple[DiskConfig, ...]:
    raise_located("disks", _twice(disks))
    return disks


def _twice(disks: tuple[DiskConfig, ...]) -> Iterator[tuple[Location, PydanticCustomError]]:
    known: set[str] = set()
    for index, disk in enumerate(disks):
        if disk.name in known:
            what = f"there is a disk {quoted(disk.name)} already"
            yield (index, "name"), fault(what, "name one of them otherwise")
        known.add(disk.name)


def _not_too_many(disks: tuple[DiskConfig, ...]) -> tuple[DiskConfig, ...]:
    if len(disks) > MOST_DISKS:
        what = f"{len(disks)} disks are more than a VM may have beside its first one"
        raise fault(what, f"write at most {MOST_DISKS}")
    return disks


Disks = Annotated[
    tuple[Annotated[DiskConfig, BeforeValidator(_whole)], ...],
    BeforeValidator(_list),
    AfterValidator(_not_too_many),
    Field(json_schema_extra={"maxItems": MOST_DISKS}),
    AfterValidator(_each_once),
    Written("list of sections"),
]
