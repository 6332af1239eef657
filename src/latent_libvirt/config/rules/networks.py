# SPDX-License-Identifier: GPL-2.0-only
"""Networks of labels against what else they say of addresses, filters, groups and connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.addresses import is_loopback
from latent_libvirt.config.groups import files_of, is_address, ready_made
from latent_libvirt.config.rules.plain_values import (
    allow_of,
    at,
    hosts_of,
    is_name,
    section,
)
from latent_libvirt.config.suggestions import suggestion
from latent_libvirt.config.text import quoted

if TYPE_CHECKING:
    from pydantic_core import PydanticCustomError

    from latent_libvirt.config.rules.plain_values import (
        Fault,
    )


def of_label(name: str, label: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what does not agree with the network of label *name*."""
    yield from _filter_of_nothing(name, label)
    yield from _address_for_nobody(name, label, config)
    yield from _own_address_of_guests(name, label, config)
    yield from _no_way_to_master(name, label)
    yield from _missing_groups(name, label, section(config, "network_groups"))


def _filter_of_nothing(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find a filter for guests where libvirt has nothing to filter."""
    network = "none" if allow_of(label) is not None else label.get("network", "user")
    unfiltered = {"user": "QEMU's user-mode network", "none": "guests without a network"}
    if not isinstance(network, str) or network not in unfiltered:
        return
    if isinstance(label.get("filter"), str) and label["filter"] != "none":
        what = f"{quoted(label['filter'])} cannot filter {unfiltered[network]}"
        remedy = "remove it, or name a libvirt network or a bridge as the label's `network`"
        yield ("labels", name, "filter"), fault(what, remedy, beside=["network"])


def _address_for_nobody(
    name: str, label: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find an address of the master for guests that have no card to connect by.

    One of `defaults` is for other labels.
    """
    usual = section(section(config, "defaults"), "labels").get("address")
    has_card = label.get("network") != "none" and allow_of(label) is None
    if has_card or label.get("address") in (None, usual):
        return
    remedy = "remove it, or give the label a network"
    what = "guests without a network card connect to no address"
    yield ("labels", name, "address"), fault(what, remedy, beside=["network"])


def _own_address_of_guests(
    name: str, label: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find addresses of the master at which guests that connect by TCP find themselves."""
    if label.get("connection") != "tcp":
        return
    hosts = section(config, "hosts")
    names = [host for host in hosts_of(label, hosts) if is_name(host)]
    places = [("labels", name), *(("hosts", host) for host in names), ("master",)]
    given = {place: at(config, place).get("address") for place in places}
    if given["labels", name] is not None:
        places = places[:1]
    uris = [at(config, place).get("uri") for place in places if place[0] == "hosts"]
    are_simulated = uris and all(str(uri).startswith("test:") for uri in uris)
    for place in [] if are_simulated else places:
        address = given[place]
        if isinstance(address, str) and is_loopback(address):
            what = f"{quoted(address)} is the guest itself, to a guest that connects by TCP"
            remedy = "write the master's address as guests see it, or remove the key"
            yield (*place, "address"), fault(what, remedy, beside=["connection"])


def _no_way_to_master(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find guests without a network whose workers are to connect by TCP."""
    if label.get("connection") != "tcp":
        return
    if allow_of(label) is not None:
        what = "guests with `allow` have no card by which a worker could connect by TCP"
        remedy = "remove `connection: tcp`"
        yield ("labels", name, "network", "allow"), fault(what, remedy, beside=["connection"])
    if label.get("network") == "none":
        what = "without a network, a worker cannot connect to its master by TCP"
        remedy = "remove `connection: tcp`, or give the label a network"
        yield ("labels", name, "network"), fault(what, remedy, beside=["connection"])


def _missing_groups(
    name: str, label: Mapping[str, Any], groups: Mapping[str, Any]
) -> Iterator[Fault]:
    allowed = allow_of(label)
    known = dict.fromkeys([*groups, *ready_made()])
    for index, item in enumerate(allowed if isinstance(allowed, list | tuple) else ()):
        group = item.get("group") if isinstance(item, Mapping) else item
        if not is_name(group) or group in known or is_address(group):
            continue
        place = ("labels", name, "network", "allow", index)
        yield place, _no_group(group, known)


def _no_group(group: str, known: Iterable[str]) -> PydanticCustomError:
    files = files_of(group)
    if files:
        what = f"the ready-made group {quoted(group)} has no host on this machine"
        remedy = f"name its hosts in `network_groups`, or by URL in {' or '.join(files)}"
        return fault(what, remedy)
    guess = suggestion(group, known, kind="groups")
    others = f"add it to `network_groups`, or write a host with its port, as in {group}:443"
    more = f" If not, {others}" if guess.endswith("?") else f"; {others}"
    return fault(f"there is no group {quoted(group)}", guess + more)
