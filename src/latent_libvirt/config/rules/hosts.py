# SPDX-License-Identifier: GPL-2.0-only
"""Labels against the devices and CPUs of their hosts, and hosts among themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.numbers import DEFAULT_VCPUS
from latent_libvirt.config.hardware.cpu_sets import cpus, is_one
from latent_libvirt.config.rules.plain_values import (
    hosts_of,
    is_name,
    largest,
    section,
    some,
    whole_number,
)
from latent_libvirt.config.suggestions import suggestion
from latent_libvirt.config.text import quoted

if TYPE_CHECKING:
    from latent_libvirt.config.rules.plain_values import (
        Fault,
    )


def of_label(name: str, label: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what does not agree with the hosts of label *name*."""
    yield from _missing_hosts(name, label, section(config, "hosts"))
    yield from _no_devices(name, label, section(config, "hosts"))
    yield from _no_cpus_to_pin(name, label, section(config, "hosts"))


def among_themselves(hosts: Mapping[str, Any]) -> Iterator[Fault]:
    """Find hosts of one URI: the names of their domains would collide."""
    first: dict[str, str] = {}
    for name, host in hosts.items():
        uri = host.get("uri") if isinstance(host, Mapping) else None
        if isinstance(uri, str) and (other := first.setdefault(_canonical(uri), name)) != name:
            yield (
                ("hosts", name, "uri"),
                fault(
                    f"leads to the same libvirt as host {other!r}",
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
    there = [_devices_of(hosts.get(host)) for host in hosts_of(label, hosts) if is_name(host)]
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
    vcpus = whole_number(largest(label.get("vcpus", DEFAULT_VCPUS)))
    if label.get("cpu_pinning") is not True or vcpus is None:
        return
    for host_name in hosts_of(label, hosts):
        host = hosts.get(host_name) if is_name(host_name) else None
        if isinstance(host, Mapping) and (lack := _lack_of_cpus(host, vcpus)):
            some = "a CPU" if vcpus == 1 else f"a set of {vcpus} or more CPUs"
            lower = "" if vcpus == 1 else "lower the label's `vcpus`, "
            remedy = (
                f"give the host {some} for each slot, {lower}or name other hosts in the label's "
                "`hosts`"
            )
            what = f"host {quoted(str(host_name))} {lack}"
            yield ("labels", name, "cpu_pinning"), fault(what, remedy, beside=["vcpus", "hosts"])


def _lack_of_cpus(host: Mapping[str, Any], vcpus: int) -> str:
    given, slots = host.get("pinned_cpus", ()), whole_number(host.get("slots"))
    sets = [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
    if len(sets) < (slots or 0):
        return f"has {some(len(sets), 'set')} in `pinned_cpus` for {some(slots or 0, 'slot')}"
    # One that is none is reported where it stands.
    small = next((each for each in sets if is_one(each) and len(cpus(each)) < vcpus), None)
    need = f"for a VM with {some(vcpus, 'vCPU')}"
    return "" if small is None else f"has the set {quoted(small)} {need}"
