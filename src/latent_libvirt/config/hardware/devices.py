# SPDX-License-Identifier: GPL-2.0-only
"""Devices of a host that VMs get: an address for each of the first slots of the host."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from latent_libvirt.config.faults import fault, raise_located
from latent_libvirt.config.fields.base import Written
from latent_libvirt.config.fields.names import NAME_PATTERN, Name
from latent_libvirt.config.section import Section
from latent_libvirt.config.text import quoted

MOST_DEVICES: Final = 64
_ADDRESS: Final = re.compile(
    r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]|usb:[0-9a-f]{4}:[0-9a-f]{4}"
)


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        remedy = "write that of a PCI device, like '0000:01:00.0', or 'usb:046d:c52b'"
        raise fault(f"{quoted(text)} is not an address of a device", remedy)
    return text


def _list(value: object, *, item: re.Pattern[str] | None, like: str) -> object:
    """Refuse a text.

    :param item: what the text has to be so that brackets make a list of it.
    :param like: a list that could stand there.
    """
    if isinstance(value, str):
        fits = item is not None and item.fullmatch(value)
        shown = value if re.fullmatch(NAME_PATTERN, value) else f"'{value}'"
        remedy = f"write it in brackets: [{shown}]" if fits else f"write one, like {like}"
        raise fault(f"{quoted(value)} is not a list", remedy)
    return value


_ADDRESSES = "['0000:01:00.0', '0000:02:00.0']"
_list_of_addresses = partial(_list, item=_ADDRESS, like=_ADDRESSES)
_list_of_sections = partial(_list, item=None, like=f"[{{name: gpu, addresses: {_ADDRESSES}}}]")
_list_of_names = partial(_list, item=re.compile(NAME_PATTERN), like="[gpu]")


def _some(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if not addresses:
        raise fault("there is no address", "write one for each slot that has the device")
    return addresses


class DeviceConfig(Section):
    """A kind of device of a host."""

    name: Name = Field(examples=["gpu"])
    """Name by which labels ask for one."""

    addresses: Annotated[
        tuple[Annotated[str, Strict(), AfterValidator(_address)], ...],
        BeforeValidator(_list_of_addresses),
        Field(max_length=MOST_DEVICES),
        AfterValidator(_some),
        Written("list of addresses"),
    ] = Field(examples=[_ADDRESSES])
    """Addresses of PCI devices, like `0000:01:00.0`, or vendor and product of USB devices, like
    `usb:046d:c52b`. The first one is for slot 1, the second one for slot 2, and so on."""


def _each_once(devices: tuple[DeviceConfig, ...]) -> tuple[DeviceConfig, ...]:
    """Refuse a device that two slots, or two kinds, would have."""
    known: set[str] = set()
    for index, device in enumerate(devices):
        for number, address in enumerate(device.addresses):
            if address in known:
                twice = fault(f"{quoted(address)} is there already", "remove one of them")
                raise_located("devices", [((index, "addresses", number), twice)])
            known.add(address)
        if device.name in {other.name for other in devices[:index]}:
            twice = fault(f"there is a device {quoted(device.name)} already", "name it otherwise")
            raise_located("devices", [((index, "name"), twice)])
    return devices


HostDevices = Annotated[
    tuple[DeviceConfig, ...],
    BeforeValidator(_list_of_sections),
    Field(max_length=MOST_DEVICES),
    AfterValidator(_each_once),
    Written("list of sections"),
]


def _names_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a device that a VM would have twice: a slot has one of each name."""
    for index, name in enumerate(names):
        if name in names[:index]:
            twice = fault(f"{quoted(name)} is there already", "remove one of them")
            raise_located("devices", [((index,), twice)])
    return names


DeviceNames = Annotated[
    tuple[Name, ...],
    BeforeValidator(_list_of_names),
    AfterValidator(_names_once),
    Written("list of names"),
]


def addresses_in(
    slot: int, devices: Iterable[DeviceConfig], wanted: Iterable[str]
) -> tuple[str, ...]:
    """Return the addresses of the *wanted* devices that are for a VM in *slot*."""
    of = {device.name: device.addresses for device in devices}
    return tuple(of[name][slot - 1] for name in wanted)


def slots_with(devices: Iterable[DeviceConfig], wanted: Iterable[str]) -> int:
    """Return the last slot that has all *wanted* devices; 0 if none has."""
    of = {device.name: len(device.addresses) for device in devices}
    return min(of.get(name, 0) for name in wanted)
