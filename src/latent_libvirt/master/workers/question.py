# SPDX-License-Identifier: GPL-2.0-only
"""Question of Buildbot to a worker, whether a build may start on it.

Buildbot asks it in pieces. Whether it is worth going on with a build comes first, then its locks,
and the room for its VM is taken last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.master.workers.asked_label import asked_label

if TYPE_CHECKING:
    from latent_libvirt.master.workers.leased_vm import LeasedVm
    from latent_libvirt.pool.lease import Lease
    from latent_libvirt.pool.room.amounts import Size
    from latent_libvirt.pool.vm_pool import VmPool

_PROMISE = 10.0
"""Seconds that a build may take from Buildbot's question to its start on a VM that idles."""


class _Asked(NamedTuple):
    """What a build asks for, as far as its properties say."""

    pool: VmPool | None = None
    label: str = ""
    builder: str = ""
    size: Size | None = None


class Question:
    """The question that a worker was asked last.

    :param worker: its name.
    :param find_pool: returns its pool, if its master has one of that name.
    :ivar label: what names the label of its builds: a name, or a renderable of their properties.
    """

    def __init__(self, worker: str, find_pool: Callable[[], VmPool | None]) -> None:
        self._worker = worker
        self._find_pool = find_pool
        self._asked = _Asked()
        self.label: Any = ""

    @property
    def fixed_label(self) -> str:
        """The label of all builds; nothing if the properties of each decide that."""
        return self.label if isinstance(self.label, str) else ""

    @property
    def _asked_label(self) -> str:
        return self.fixed_label or self._asked.label

    def suits(self, lease: Lease) -> bool:
        """Whether the VM of *lease* is of the label and size that was asked about."""
        return lease.suits(self._asked_label, self._asked.size)

    @property
    def is_kept_for_children(self) -> bool:
        """Whether VMs of the label asked about are only for builds that others wait for."""
        pool = self._asked.pool or self._find_pool()
        return pool is not None and pool.admission.is_kept_for_children(self._asked_label)

    async def wanted(self, properties: Any) -> tuple[str, Size | None]:
        """Return the label that a build with *properties* asks for, and the size that it chooses.

        :raises ConfigurationError: if there is no such label to ask for, or no such size.
        """
        label = await asked_label(self._worker, self.label, properties)
        pool = self._find_pool()
        return label, None if pool is None else pool.chosen_size(label, _Given(properties))

    async def ask(self, properties: Any) -> None:
        """Find out what a build with *properties* asks for."""
        pool = self._find_pool()
        builder = properties.getProperty("buildername")
        try:
            label, size = await self.wanted(properties)
        except ConfigurationError:
            pool, label, size = None, "", None  # It is to start, and to fail with this error.
        self._asked = _Asked(pool, label, builder, size)

    def is_worthwhile(self, vm: LeasedVm | None) -> bool:
        """Whether to go on with the build that was asked about.

        :param vm: that the worker has now.
        """
        pool, label, _builder, size = self._asked
        if vm is not None:
            return pool is not None and vm.is_idle
        return pool is None or pool.admission.may_have_room(label, size)

    def take_room(self, lease: Lease | None, *, awaited: bool, now: float) -> bool:
        """Return whether there is room for the VM of the build; if so, keep it.

        :param lease: of the VM that the worker has.
        :param awaited: whether another build waits for this one.
        :param now: seconds, by the reactor's clock.
        """
        pool, label, builder, size = self._asked
        if lease is not None:
            if pool is None or (self.is_kept_for_children and not awaited):
                return False
            pool.admission.note_child(self._worker, awaited=awaited)
            return self._offer_idle_vm(lease, pool, now)
        return pool is None or pool.admission.reserve(
            self._worker, label, builder, awaited=awaited, size=size
        )

    def _offer_idle_vm(self, lease: Lease, pool: VmPool, now: float) -> bool:
        """Return whether the VM that idles may serve the build.

        If not, it ends: at once if it is of no use to any build, else only if it is in the way.
        """
        label, size = self._asked.label, self._asked.size
        if lease.idle is None:
            return False
        changed = lease.label != pool.config.labels.get(lease.label_name)
        if changed or pool.capacity.is_allocation_drained(lease.vm.allocation):
            in_background(lease.idle.end(), self._worker)
            return False
        if not lease.suits(label, size):
            pool.admission.make_way(label, lease, lease.idle, size)
            return False
        lease.idle.promised_until = now + _PROMISE
        pool.admission.promise(lease.idle)
        return True


class _Given(Mapping[str, object]):
    """The values of a build's properties, each of which is read only when it is asked for."""

    def __init__(self, properties: Any) -> None:
        self._properties = properties

    def __getitem__(self, name: str) -> object:
        if not self._properties.hasProperty(name):
            raise KeyError(name)
        return self._properties.getProperty(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._properties.asDict())

    def __len__(self) -> int:
        return len(self._properties.asDict())
