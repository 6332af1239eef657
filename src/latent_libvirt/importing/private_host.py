# SPDX-License-Identifier: GPL-2.0-only
"""Private host of an import: a libvirtd without a network, with one storage pool and one slot.

Nothing of it outlives the process that holds it.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from latent_libvirt.config.models import PoolConfig
from latent_libvirt.config.units import MIB
from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host import hardware
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.vm_spec import vm_spec
from latent_libvirt.host.host import Host
from latent_libvirt.host.names import Owner
from latent_libvirt.host.volumes import storage
from latent_libvirt.importing.volumes import RESULT, SOURCE, STORAGE_POOL

if TYPE_CHECKING:
    import libvirt

    from latent_libvirt.host.domains.plan import Start
    from latent_libvirt.host.kvm.accelerator import ProbeResult
    from latent_libvirt.images.description import Firmware

_READY_DEADLINE: Final = 60.0
_CLOSE_DEADLINE: Final = 30.0
_POLL: Final = 0.05
_HOST: Final = "import"


@dataclass(frozen=True)
class Machine:
    """Size and speed of the VMs of an import.

    :param memory: bytes, a multiple of a mebibyte.
    :param disk: bytes of the disk that something is installed on, like that; ``None`` for none.
    :param accelerator: ``kvm`` or ``tcg``.
    :param firmware: that boots the disk.
    """

    vcpus: int
    memory: int
    disk: int | None
    accelerator: str
    firmware: Firmware = "bios"

    def configuration(self, uri: str) -> PoolConfig:
        """Return a pool with labels for the installation (``source``) and for the check."""
        size: dict[str, object] = {
            "vcpus": self.vcpus,
            "memory": f"{self.memory // MIB}MiB",
            "firmware": self.firmware,
        }
        host = {
            "uri": uri,
            "slots": 1,
            "storage_pool": STORAGE_POOL,
            "accelerator": self.accelerator,
        }
        labels = {"result": {"image": "result", **size}}
        if self.disk is not None:
            labels["source"] = {"image": "source", "disk": f"{self.disk // MIB}MiB", **size}
        return PoolConfig.model_validate(
            {
                "master": {"max_vms": 1},
                "hosts": {_HOST: host},
                "images": {"source": {"volume": SOURCE}, "result": {"volume": RESULT}},
                "labels": labels,
            }
        )


def usable_accelerator(
    device: Path = Path("/dev/kvm"), processors: Path = Path("/proc/cpuinfo")
) -> str:
    """Return ``kvm`` if this machine runs VMs by hardware, else ``tcg``.

    A device without virtualisation in the processor exists on some machines, and runs no kernel.
    """
    flags = set(processors.read_text(errors="replace").split())
    has_hardware = bool(flags & {"vmx", "svm"})
    return "kvm" if has_hardware and os.access(device, os.R_OK | os.W_OK) else "tcg"


class _NoProbes:
    """Remembers no probe of KVM: whether to use it was decided before."""

    async def load(self, host_uuid: str) -> None:
        """Return nothing."""

    async def save(self, host_uuid: str, result: ProbeResult) -> None:
        """Forget it."""


class PrivateHost:
    """The host, and the VMs that can be made on it."""

    def __init__(self, config: PoolConfig, *, reactor: Any) -> None:
        self._config = config
        self._owner = Owner(f"import {secrets.token_hex(16)}", "import")
        self.reactor = reactor
        context = PoolContext(self._owner, {}, _NoProbes(), lambda: None, reactor)
        self.host = Host(_HOST, config.hosts[_HOST], context)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Be connected for the length of a ``with`` block.

        :raises ConfigurationError: if it lacks the firmware of its VMs.
        :raises HostError: if libvirt does not answer.
        """
        self.host.start()
        try:
            await self._until_usable()
            if self._config.labels["result"].firmware != "bios":
                await self.host.connection.call("survey", "look at its firmware", self._look)
            yield
        finally:
            closing = Deferred.fromCoroutine(self.host.stop_when_empty())
            with suppress(defer.TimeoutError):
                await closing.addTimeout(_CLOSE_DEADLINE, self.reactor)

    def _look(self, connection: libvirt.virConnect) -> None:
        """Refuse a machine that lacks what its VMs need. Blocks."""
        label, accelerator = self._config.labels["result"], self._config.hosts[_HOST].accelerator
        if lacking := hardware.lacks(connection, label, accelerator=accelerator):
            raise ConfigurationError(
                f"this machine lacks {', '.join(lacking)}",
                details="The disk is booted here once, and no BIOS boots it.",
                resolution="Install that, and repeat the command.",
            )

    async def _until_usable(self) -> None:
        deadline = time.monotonic() + _READY_DEADLINE
        while not self.host.usable:
            if time.monotonic() > deadline:
                raise HostError("the private libvirtd does not answer", details=self.host.trouble)
            await deferLater(self.reactor, _POLL, lambda: None)

    async def look_for_volumes(self) -> None:
        """Let libvirt find what was written to its storage pool by others."""
        await self.host.connection.call("survey", "look at its volumes", _refresh)

    def plan(self, label: str, *, start: Start = "boot", seed: Path | None = None) -> MachinePlan:
        """Return the plan of a VM of that label."""
        record = VmRecord(
            owner_id=self._owner.id,
            master=self._owner.master,
            pool=self._owner.pool,
            vm_id=secrets.token_hex(8),
            label=label,
            worker=f"import, process {os.getpid()}",
            image=label,
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        path = None if seed is None else str(seed)
        return MachinePlan(1, record, vm_spec(self._config, label), start=start, seed=path)


def _refresh(connection: libvirt.virConnect) -> None:
    storage.refresh(storage.storage_pool(connection, STORAGE_POOL))
