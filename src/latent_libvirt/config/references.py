# SPDX-License-Identifier: GPL-2.0-only
"""Rules about what has to agree across the keys and sections of ``pool.yaml``.

They work on the plain values of the file, valid or not. So a missing image is reported together
with a wrong unit elsewhere, not after it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from latent_libvirt.config.budgets import LEAST_OVERCOMMIT, MOST_OVERCOMMIT, budget
from latent_libvirt.config.domain_fragment import (
    disks_in,
    has_command_line,
    has_network_card,
    is_below,
    memory_in,
    paths_in,
)
from latent_libvirt.config.faults import KEY, fault
from latent_libvirt.config.fields.addresses import is_loopback
from latent_libvirt.config.fields.names import NAME_PATTERN
from latent_libvirt.config.fields.numbers import DEFAULT_VCPUS
from latent_libvirt.config.fields.sizes import DEFAULT_MEMORY, DEFAULT_SAVED_STATE_SPACE
from latent_libvirt.config.groups import is_address, ready_made
from latent_libvirt.config.hardware import architecture_rules
from latent_libvirt.config.hardware.cpu_sets import cpus, is_one
from latent_libvirt.config.hardware.disk_names import targets
from latent_libvirt.config.suggestions import suggestion
from latent_libvirt.config.text import (
    Location,
    quoted,
)
from latent_libvirt.config.units import MIB, format_size, parse_size
from latent_libvirt.images.architectures import QEMU_PACKAGES, X86_64

LONGEST_WORKER_NAME = 50
"""Characters: the width of ``workers.name`` in Buildbot's database (``buildbot/db/model.py``)."""

Fault = tuple[Location, PydanticCustomError]


def recipe_names() -> tuple[str, ...]:
    """Return the names of the images that this package knows how to build."""
    from latent_libvirt.images import recipes  # noqa: PLC0415 - most configurations need none

    return recipes.names()


@functools.cache
def recipe_architecture(name: str) -> str:
    """Return the architecture of an image that this package knows how to build."""
    from latent_libvirt.images import recipes  # noqa: PLC0415 - most configurations need none

    return recipes.load(name).settings.arch


def faults(config: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what does not agree, each with its location in *config*."""
    yield from _hosts_twice(_section(config, "hosts"))
    yield from _two_ideas(_section(config, "images"))
    for name, label in _section(config, "labels").items():
        if isinstance(label, Mapping):
            yield from _missing_image(name, label, _section(config, "images"))
            yield from _missing_hosts(name, label, _section(config, "hosts"))
            yield from _other_architecture(name, label)
            yield from _image_of_another_machine(name, label, _section(config, "images"))
            yield from _freezes_nothing(name, label)
            yield from _no_space_to_freeze(name, label, _section(config, "hosts"))
            yield from _exports_nothing(name, label)
            yield from _filter_of_nothing(name, label)
            yield from _address_for_nobody(name, label, config)
            yield from _own_address_of_guests(name, label, config)
            yield from _no_way_to_master(name, label)
            yield from _missing_groups(name, label, _section(config, "network_groups"))
            yield from _network_by_fragment(name, label)
            yield from _disk_by_fragment(name, label)
            yield from _memory_by_fragment(name, label)
            yield from _path_by_fragment(name, label, _section(config, "master"))
            yield from _no_devices(name, label, _section(config, "hosts"))
            yield from _no_cpus_to_pin(name, label, _section(config, "hosts"))
            yield from _too_large(name, label, _section(config, "hosts"))
            yield from _too_many_spares(name, label, config)
            yield from _unsigned_volume(name, label, config)
            yield from _all_for_children(name, label, config)
            yield from _long_worker_name(name, label, config)


def _missing_image(
    name: str, label: Mapping[str, Any], images: Mapping[str, Any]
) -> Iterator[Fault]:
    image = label.get("image")
    known = [*images, *(recipe for recipe in recipe_names() if recipe not in images)]
    if isinstance(image, str) and image not in known:
        yield (
            ("labels", name, "image"),
            fault(f"there is no image {quoted(image)}", suggestion(image, known, kind="images")),
        )


def _other_architecture(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find what the label's architecture does not have."""
    for key, found in architecture_rules.faults(label):
        yield ("labels", name, key), found


def _image_of_another_machine(
    name: str, label: Mapping[str, Any], images: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find images of this package's recipes that VMs of the label could not boot.

    What an entry in `images` stands for is known to the hosts alone, whatever its name is.
    """
    image, arch = label.get("image"), str(label.get("arch", X86_64))
    if not isinstance(image, str) or image in images or image not in recipe_names():
        return
    own = f"an image of your own that is called {image} needs an entry in `images`"
    if arch in QEMU_PACKAGES and arch != (other := recipe_architecture(image)):
        what = f"{quoted(image)} is an image for {other}, and the label has arch: {arch}"
        remedy = f"name an image for {arch}, or write `arch: {other}`; {own}"
        yield ("labels", name, "image"), fault(what, remedy, beside=["arch"])
    elif label.get("firmware") == "uefi-secure":
        what = f"{quoted(image)} is booted by a kernel that Secure Boot refuses"
        remedy = f"name an image with a signed boot loader, or write `firmware: uefi`; {own}"
        yield ("labels", name, "image"), fault(what, remedy, beside=["firmware"])


def _freezes_nothing(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find labels whose VMs are to be frozen, and are not held."""
    if label.get("freeze") is True and label.get("hold_on_failure") is None:
        what = "no VM of the label is held, so none can be frozen"
        yield ("labels", name, "freeze"), fault(what, "add `hold_on_failure`, such as 24h")


def _no_space_to_freeze(
    name: str, label: Mapping[str, Any], hosts: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find labels whose VMs have more memory than any of their hosts keeps for frozen ones."""
    given = label.get("memory", format_size(DEFAULT_MEMORY))
    least = _size(given.get("min") if isinstance(given, Mapping) else given)
    names = [host for host in _hosts_of(label, hosts) if _is_name(host)]
    spaces = [_size(_frozen_space(hosts.get(host))) for host in names]
    if label.get("freeze") is not True or least is None or not spaces:
        return
    if all(space is not None and space < least for space in spaces):
        what = f"a VM with {format_size(least)} of memory cannot be frozen on any of its hosts"
        remedy = "raise their `frozen_space`, or remove `freeze`: VMs are held in their slots"
        yield ("labels", name, "freeze"), fault(what, remedy, beside=["memory", "hosts"])


def _frozen_space(host: object) -> object:
    usual = format_size(DEFAULT_SAVED_STATE_SPACE)
    return host.get("frozen_space", usual) if isinstance(host, Mapping) else None


def _exports_nothing(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find labels whose VMs may be exported, and are never frozen."""
    if label.get("export") is True and label.get("freeze") is not True:
        what = "no VM of the label is frozen, so none can be exported"
        yield ("labels", name, "export"), fault(what, "add `freeze: true` and `hold_on_failure`")


def _missing_hosts(
    name: str, label: Mapping[str, Any], hosts: Mapping[str, Any]
) -> Iterator[Fault]:
    given = label.get("hosts")
    for index, host in enumerate(given if isinstance(given, list | tuple) else ()):
        if isinstance(host, str) and host not in hosts:
            yield (
                ("labels", name, "hosts", index),
                fault(f"there is no host {quoted(host)}", suggestion(host, hosts, kind="hosts")),
            )


def _hosts_twice(hosts: Mapping[str, Any]) -> Iterator[Fault]:
    """Find hosts of one URI: the names of their domains would collide."""
    first: dict[str, str] = {}
    for name, host in hosts.items():
        uri = host.get("uri") if isinstance(host, Mapping) else None
        if isinstance(uri, str) and (other := first.setdefault(_canonical(uri), name)) != name:
            yield (
                ("hosts", name, "uri"),
                fault(
                    f"the same hypervisor as host {other!r}",
                    f"remove one, and give {other!r} the slots of both",
                ),
            )


def _canonical(uri: str) -> str:
    """Return *uri* in a form that others of the same meaning have, too, as far as text shows.

    Text does not show two names of one machine; that is found out when both are connected.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri
    scheme = parts.scheme.removesuffix("+unix") if not parts.netloc else parts.scheme
    query = "&".join(sorted(filter(None, parts.query.split("&"))))
    return f"{scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}?{query}"


def _filter_of_nothing(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find a filter for guests where libvirt has nothing to filter."""
    network = "none" if _allowed(label) is not None else label.get("network", "user")
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
    usual = _section(_section(config, "defaults"), "labels").get("address")
    has_card = label.get("network") != "none" and _allowed(label) is None
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
    hosts = _section(config, "hosts")
    names = [host for host in _hosts_of(label, hosts) if _is_name(host)]
    places = [("labels", name), *(("hosts", host) for host in names), ("master",)]
    given = {place: _at(config, place).get("address") for place in places}
    if given["labels", name] is not None:
        places = places[:1]
    uris = [_at(config, place).get("uri") for place in places if place[0] == "hosts"]
    are_simulated = uris and all(str(uri).startswith("test:") for uri in uris)
    for place in [] if are_simulated else places:
        address = given[place]
        if isinstance(address, str) and is_loopback(address):
            what = f"{quoted(address)} is the guest itself, to a guest that connects by TCP"
            remedy = "write the master's address as guests see it, or remove the key"
            yield (*place, "address"), fault(what, remedy, beside=["connection"])


def _at(config: Mapping[str, Any], place: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the mapping at *place*; an empty one if there is none."""
    found: object = config
    for key in place:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _no_way_to_master(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find guests without a network whose workers are to connect by TCP."""
    if label.get("connection") != "tcp":
        return
    if _allowed(label) is not None:
        what = "guests with `allow` have no card by which a worker could connect by TCP"
        remedy = "remove `connection: tcp`"
        yield ("labels", name, "network", "allow"), fault(what, remedy, beside=["connection"])
    if label.get("network") == "none":
        what = "without a network, a worker cannot connect to its master by TCP"
        remedy = "remove `connection: tcp`, or give the label a network"
        yield ("labels", name, "network"), fault(what, remedy, beside=["connection"])


def _allowed(label: Mapping[str, Any]) -> object:
    """Return what the label's `allow` has; ``None`` if it has none."""
    network = label.get("network")
    return network.get("allow") if isinstance(network, Mapping) else None


def _missing_groups(
    name: str, label: Mapping[str, Any], groups: Mapping[str, Any]
) -> Iterator[Fault]:
    allowed = _allowed(label)
    known = dict.fromkeys([*groups, *ready_made()])
    for index, item in enumerate(allowed if isinstance(allowed, list | tuple) else ()):
        group = item.get("group") if isinstance(item, Mapping) else item
        if not _is_name(group) or group in known or is_address(group):
            continue
        remedy = suggestion(group, known, kind="groups") + "; a host needs its port, as in a:443"
        place = ("labels", name, "network", "allow", index)
        yield place, fault(f"there is no group {quoted(group)}", remedy)


def _network_by_fragment(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find network cards of guests that are to have none."""
    given = label.get("domain_xml")
    has_none = label.get("network") == "none" or _allowed(label) is not None
    if has_none and isinstance(given, str) and has_network_card(given):
        remedy = "remove it, or give the label a network"
        what = "a label without a network has a network card here"
        yield ("labels", name, "domain_xml"), fault(what, remedy, beside=["network"])


def _disk_by_fragment(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find disks of a fragment that have the names of the label's `disks`."""
    given, taken = label.get("domain_xml"), targets(label.get("disks"))
    for found in disks_in(given) if isinstance(given, str) else ():
        if found in taken:
            what = f"the disk {quoted(found)} is one of the label's `disks`"
            remedy = f"name another target, after {taken[-1]}"
            yield ("labels", name, "domain_xml"), fault(what, remedy, beside=["disks"])


def _memory_by_fragment(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find NUMA cells that give a VM other memory than its label, by which the pool counts."""
    text, given = label.get("domain_xml"), label.get("memory")
    cells = memory_in(text) if isinstance(text, str) else None
    memory = _size(given) if "memory" in label else DEFAULT_MEMORY
    if cells is not None and cells != memory:
        what = "the NUMA cells do not have the label's `memory`, all together"
        remedy = "let their `memory` add up to that, in KiB, MiB or GiB"
        yield ("labels", name, "domain_xml"), fault(what, remedy, beside=["memory"])


def _path_by_fragment(
    name: str, label: Mapping[str, Any], master: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find paths of a fragment that the configuration does not allow."""
    text, given = label.get("domain_xml"), master.get("domain_xml_paths")
    allowed = [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
    if (
        isinstance(text, str)
        and has_command_line(text)
        and not any(is_below("/", a) for a in allowed)
    ):
        what = "QEMU's own arguments can name paths in ways that are not seen here"
        remedy = "remove <qemu:commandline>, or allow all paths by `domain_xml_paths: [/]`"
        yield ("labels", name, "domain_xml"), fault(what, remedy)
    for path in paths_in(text) if isinstance(text, str) else ():
        if not any(is_below(path, each) for each in allowed):
            what = f"the path {quoted(path)} is not allowed"
            remedy = "add its directory to `domain_xml_paths` of the master, or remove it"
            yield ("labels", name, "domain_xml"), fault(what, remedy)


def _no_devices(name: str, label: Mapping[str, Any], hosts: Mapping[str, Any]) -> Iterator[Fault]:
    """Find labels whose devices no host has, or whose VMs would have to be saved with them."""
    given = label.get("devices")
    wanted = [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
    if wanted and label.get("start") != "boot":
        remedy = "add `start: boot` to the label"
        what = "a VM with a device cannot be saved"
        yield ("labels", name, "devices"), fault(what, remedy, beside=["start"])
    if wanted and label.get("freeze") is True:
        what = "a VM with a device cannot be saved, so it cannot be frozen"
        remedy = "remove `freeze`: VMs are held in their slots"
        yield ("labels", name, "freeze"), fault(what, remedy, beside=["devices"])
    there = [_devices_of(hosts.get(host)) for host in _hosts_of(label, hosts) if _is_name(host)]
    if wanted and not any(set(wanted) <= names for names in there):
        known = sorted(set().union(*there))
        missing = next((each for each in wanted if each not in known), wanted[0])
        what = f"no host of the label has {' and '.join(map(quoted, wanted))}"
        remedy = suggestion(missing, known, kind="devices")
        yield ("labels", name, "devices"), fault(what, remedy, beside=["hosts"])


def _devices_of(host: object) -> set[str]:
    given = host.get("devices") if isinstance(host, Mapping) else None
    found = given if isinstance(given, list) else []
    return {str(each.get("name")) for each in found if isinstance(each, Mapping)}


def _no_cpus_to_pin(
    name: str, label: Mapping[str, Any], hosts: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find labels with pinned CPUs on hosts that have none for them in some slot."""
    vcpus = _count(_most(label.get("vcpus", DEFAULT_VCPUS)))
    if label.get("cpu_pinning") is not True or vcpus is None:
        return
    for host_name in _hosts_of(label, hosts):
        host = hosts.get(host_name) if _is_name(host_name) else None
        if isinstance(host, Mapping) and (lack := _lack_of_cpus(host, vcpus)):
            some = "a CPU" if vcpus == 1 else f"a set of {vcpus} or more CPUs"
            lower = "" if vcpus == 1 else "lower the label's `vcpus`, "
            remedy = (
                f"give the host {some} for each slot, {lower}or name other hosts in the label's "
                "`hosts`"
            )
            what = f"host {quoted(str(host_name))} {lack}"
            yield ("labels", name, "cpu_pinning"), fault(what, remedy, beside=["vcpus", "hosts"])


def _hosts_of(label: Mapping[str, Any], hosts: Mapping[str, Any]) -> list[Any]:
    given = label.get("hosts")
    return [*given] if isinstance(given, list | tuple) else [*hosts]


def _lack_of_cpus(host: Mapping[str, Any], vcpus: int) -> str:
    given, slots = host.get("pinned_cpus", ()), _count(host.get("slots"))
    sets = [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
    if len(sets) < (slots or 0):
        return f"has {_some(len(sets), 'set')} in `pinned_cpus` for {_some(slots or 0, 'slot')}"
    # One that is none is reported where it stands.
    small = next((each for each in sets if is_one(each) and len(cpus(each)) < vcpus), None)
    need = f"for a VM with {_some(vcpus, 'vCPU')}"
    return "" if small is None else f"has the set {quoted(small)} {need}"


def _too_large(name: str, label: Mapping[str, Any], hosts: Mapping[str, Any]) -> Iterator[Fault]:
    """Find labels of which not even one VM fits into the budget of any of their hosts."""
    needs = {
        "vcpus": _count(_most(label.get("vcpus", DEFAULT_VCPUS))),
        "memory": _size(_most(label["memory"])) if "memory" in label else DEFAULT_MEMORY,
    }
    given = label.get("hosts")
    names = given if isinstance(given, list | tuple) else list(hosts)
    lacks = [_lacks(needs, hosts.get(host) if isinstance(host, str) else None) for host in names]
    if not lacks or not all(lacks):
        return
    key = "vcpus" if all("vcpus" in lack for lack in lacks) else "memory"
    wanted = " and ".join(_in_words(key, need) for key, need in needs.items() if need is not None)
    budgets = "; ".join(
        f"{host}: {', '.join(_in_words(key, most) for key, most in lack.items())}"
        for host, lack in zip(names, lacks, strict=True)
    )
    yield (
        ("labels", name, key),
        fault(
            f"no host can give a VM {wanted} (the most of {budgets})",
            "ask for less, or raise `vcpus`, `memory` or their overcommit of a host",
            beside=["vcpus", "memory", "hosts"],
        ),
    )


def _most(value: object) -> object:
    """Return the most that builds may choose, where they may."""
    return value.get("max") if isinstance(value, Mapping) else value


def _lacks(needs: Mapping[str, int | None], host: object) -> dict[str, int]:
    """Return the budgets of *host* that a VM is too large for; of what is no host, none is."""
    if not isinstance(host, Mapping):
        return {}
    budgets = {
        "vcpus": _budget(_count(host.get("vcpus")), host.get("vcpu_overcommit", 1.0)),
        "memory": _budget(_size(host.get("memory")), host.get("memory_overcommit", 1.0)),
    }
    return {
        key: most
        for key, most in budgets.items()
        if most is not None and (need := needs[key]) is not None and need > most
    }


def _budget(amount: int | None, overcommit: object) -> int | None:
    if amount is None or type(overcommit) not in (int, float):
        return None
    assert isinstance(overcommit, int | float)
    within = LEAST_OVERCOMMIT <= overcommit <= MOST_OVERCOMMIT
    return budget(amount, overcommit) if within else None


def _count(value: object) -> int | None:
    return value if type(value) is int else None


def _size(value: object) -> int | None:
    try:
        return parse_size(value)
    except PydanticCustomError:
        return None


def _in_words(key: str, amount: int) -> str:
    if key == "vcpus":
        return _some(amount, "vCPU")
    return f"{format_size(max(amount // MIB, 1) * MIB)} of memory"


def _some(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _two_ideas(images: Mapping[str, Any]) -> Iterator[Fault]:
    """Find images that are both a volume and a published image."""
    for name, image in images.items():
        if isinstance(image, Mapping) and image.get("volume") is not None:
            for key in ("name", "digest", "require_signed", "canary"):
                if image.get(key) is not None:
                    what = "cannot stand beside `volume`: that is no published image"
                    yield ("images", name, key), fault(what, "remove one of the two")
        elif isinstance(image, Mapping) and image.get("digest") and image.get("canary"):
            what = "cannot stand beside `digest`, which pins one version"
            yield ("images", name, "canary"), fault(what, "remove one of the two")


def _unsigned_volume(
    name: str, label: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find an image that cannot be signed where all of them have to be."""
    image = _section(config, "images").get(str(label.get("image")))
    is_volume = isinstance(image, Mapping) and image.get("volume") is not None
    if is_volume and _section(config, "master").get("require_signed") is not None:
        what = f"{quoted(label['image'])} is a volume, which has no signature"
        remedy = (
            "publish that disk (latent-libvirt image publish FILE --name NAME) and sign it, or "
        )
        remedy += "name the keys at each image in place of `master.require_signed`"
        yield ("labels", name, "image"), fault(what, remedy)


def _too_many_spares(
    name: str, label: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find a label that would never have as many spares as it asks for."""
    cap = _count(label.get("max_vms", _section(config, "master").get("max_vms")))
    for path, spares in _spare_counts(label.get("spares")):
        count = _count(spares)
        if cap is not None and count is not None and count > cap:
            verb = "is" if count == 1 else "are"
            most = _some(cap, "VM")
            what = f"{_some(count, 'spare')} {verb} more than the {most} that the label may have"
            remedy = "raise max_vms, or lower it"
            yield ("labels", name, "spares", *path), fault(what, remedy, beside=["max_vms"])


def _all_for_children(
    name: str, label: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find a label that keeps so much for children that no build could have any."""
    kept = _count(label.get("reserve_for_children"))
    master = _section(config, "master").get("max_vms")
    caps = [cap for cap in (_count(label.get("max_vms", master)), _count(master)) if cap]
    if kept and caps and kept >= min(caps):
        most = _some(min(caps), "VM")
        what = f"{kept} of the {most} that the label may have would leave none for other builds"
        remedy = "raise max_vms, or lower it"
        yield ("labels", name, "reserve_for_children"), fault(what, remedy, beside=["max_vms"])


def _spare_counts(spares: object) -> Iterator[tuple[tuple[str | int, ...], object]]:
    if not isinstance(spares, Mapping):
        yield (), spares
        return
    yield ("count",), spares.get("count")
    periods = spares.get("periods")
    for index, period in enumerate(periods if isinstance(periods, list | tuple) else ()):
        if isinstance(period, Mapping):
            yield ("periods", index, "count"), period.get("count")


def _long_worker_name(
    name: str, label: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Fault]:
    master = _section(config, "master")
    prefix = master.get("name")
    count = label.get("max_vms", master.get("max_vms"))
    parts = [name] if prefix is None else [prefix, name]
    if not all(map(_is_name, parts)) or not isinstance(count, int):
        return
    worker = "-".join([*parts, str(count)])
    if len(worker) > LONGEST_WORKER_NAME:
        what = f"a worker would be called {quoted(worker)}, of {len(worker)} characters"
        remedy = f"shorten the label's or the master's name: Buildbot takes {LONGEST_WORKER_NAME}"
        yield ("labels", name, KEY), fault(what, remedy, beside=["max_vms"])


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and re.fullmatch(NAME_PATTERN, value) is not None


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}
