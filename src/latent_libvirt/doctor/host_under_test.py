# SPDX-License-Identifier: GPL-2.0-only
"""One host under examination, with all that the checks ask of it."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.vm_spec import vm_spec
from latent_libvirt.host.host import Host

if TYPE_CHECKING:
    from latent_libvirt.config.listener import Listener
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.config.sections.host import HostConfig
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.host.domains.machine import (
        Machine,
    )
    from latent_libvirt.host.kvm.accelerator import ProbeResult
    from latent_libvirt.host.names import Owner


class FreshProbes:
    """Believes no earlier probe of KVM, and remembers what this one found."""

    def __init__(self) -> None:
        self.result: ProbeResult | None = None

    async def load(self, host_uuid: str) -> None:
        """Return nothing: what was true when the host was booted may not be any more."""

    async def save(self, host_uuid: str, result: ProbeResult) -> None:  # noqa: ARG002
        """Keep the result for who asks."""
        self.result = result


class HostUnderTest:
    """One host.

    :param owner: whose the VMs started here are.
    :param listener: where the master listens for workers, if that is known.
    """

    def __init__(
        self,
        name: str,
        config: PoolConfig,
        *,
        owner: Owner,
        reactor: Any,
        listener: Listener | None = None,
    ) -> None:
        self.name = name
        self.listener = listener
        self.pool = config
        self.config: HostConfig = config.hosts[name]
        self.probes = FreshProbes()
        self.reactor = reactor
        # To insist on KVM is no reason to believe in it.
        update = {"accelerator": "tcg" if self.config.accelerator == "tcg" else "auto"}
        context = PoolContext(owner, {}, self.probes, lambda: None, reactor)
        self.host = Host(name, self.config.model_copy(update=update), context)

    @property
    def labels(self) -> dict[str, LabelConfig]:
        """The labels that this host may run."""
        return {
            name: label
            for name, label in self.pool.labels.items()
            if self.name in self.pool.hosts_for(name)
        }

    def machine(self, label_name: str, slot: int) -> Machine:
        """Register a VM of a label; it has to be discarded."""
        label = self.pool.labels[label_name]
        plan = MachinePlan(
            slot, self._record(label_name, label.image), vm_spec(self.pool, label_name)
        )
        return self.host.new_machine(plan)

    def _record(self, label: str, image: str) -> VmRecord:
        owner = self.host.owner
        return VmRecord(
            owner_id=owner.id,
            master=owner.master,
            pool=owner.pool,
            vm_id=secrets.token_hex(8),
            label=label,
            worker=f"doctor, process {os.getpid()}",
            image=image,
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def free_slots(self) -> list[int]:
        """Return the slots that nobody uses, the last first: masters begin with the first."""
        slots = range(self.config.slots, 0, -1)
        return [slot for slot in slots if slot not in self.host.blocked_slots]
