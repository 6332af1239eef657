# SPDX-License-Identifier: GPL-2.0-only
"""Lacks of a configuration, for which a VM cannot be thawed on a host until they are mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latent_libvirt.config.units import format_size
from latent_libvirt.pool.plan import size_of_frozen

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.pool.room.caps import Caps


def what_is_lacking(
    vm: FrozenVm, host: str, config: PoolConfig, caps: Caps
) -> tuple[str, str] | None:
    """Return what *config* lacks for *vm* on *host*, and what to do; ``None`` if nothing.

    :param caps: those of *config*.
    """
    label = vm.record.label
    if label not in config.labels:
        why = f"label {label!r} is not configured any more"
        return why, "Put the label back into the pool's YAML file."
    if host not in config.hosts:
        why = f"host {host} is not in the pool's YAML file any more"
        return why, "Put the host back there, or thaw the VM on another one."
    if host not in config.hosts_for(label):
        why = f"label {label!r} does not use host {host}"
        return why, "Put the host into the label's hosts."
    if vm.slot > config.hosts[host].slots:
        why = f"host {host} has no slot {vm.slot}, and the VM can have no other"
        return why, "Raise the slots of the host."
    size = size_of_frozen(config, vm)
    if size is not None and not caps.may_give(host, size):
        memory = format_size(size.memory)
        why = f"{size.vcpus} vCPUs and {memory} of memory are more than the host may give out"
        return why, "Raise vcpus, memory or their overcommit of the host."
    return None
