# SPDX-License-Identifier: GPL-2.0-only
"""Sizes of VMs against what their hosts can give to one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from latent_libvirt.config.budgets import LEAST_OVERCOMMIT, MOST_OVERCOMMIT, budget
from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.numbers import DEFAULT_VCPUS
from latent_libvirt.config.fields.sizes import DEFAULT_MEMORY
from latent_libvirt.config.rules.plain_values import (
    hosts_of,
    largest,
    section,
    size_in_bytes,
    some,
    whole_number,
)
from latent_libvirt.config.units import MIB, format_size

if TYPE_CHECKING:
    from latent_libvirt.config.rules.plain_values import (
        Fault,
    )


def of_label(name: str, label: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Fault]:
    """Find labels of which not even one VM fits into the budget of any of their hosts."""
    needs = {
        "vcpus": whole_number(largest(label.get("vcpus", DEFAULT_VCPUS))),
        "memory": size_in_bytes(largest(label["memory"])) if "memory" in label else DEFAULT_MEMORY,
    }
    hosts = section(config, "hosts")
    names = hosts_of(label, hosts)
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


def _lacks(needs: Mapping[str, int | None], host: object) -> dict[str, int]:
    """Return the budgets of *host* that a VM is too large for; of what is no host, none is."""
    if not isinstance(host, Mapping):
        return {}
    budgets = {
        "vcpus": _budget(whole_number(host.get("vcpus")), host.get("vcpu_overcommit", 1.0)),
        "memory": _budget(size_in_bytes(host.get("memory")), host.get("memory_overcommit", 1.0)),
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


def _in_words(key: str, amount: int) -> str:
    if key == "vcpus":
        return some(amount, "vCPU")
    return f"{format_size(max(amount // MIB, 1) * MIB)} of memory"
