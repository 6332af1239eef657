# SPDX-License-Identifier: GPL-2.0-only
"""The frozen VMs of a host: found again by a new master, and forgotten at their deadlines.

What is not registered here, the sweep frees. How a VM is frozen and thawed is in ``frozen_io.py``,
and which VM is, is decided in the pool.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from latent_libvirt.host.names import domain_name

if TYPE_CHECKING:
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.host.names import OwnedVolume
    from latent_libvirt.host.sweep import Survey

log = Logger()

ELSEWHERE: Final = "goes on on another host"
"""What has become of a VM whose master was killed between its thaw there and its end here."""

Read = Callable[[Collection["OwnedVolume"]], Awaitable["Found"]]
"""Reads the frozen VMs of these names."""


@dataclass(frozen=True)
class FrozenVm:
    """A VM that was frozen.

    :param name: of its memory.
    :param record: as it was when the VM was frozen.
    :param xml: the domain's, as libvirt has saved it.
    :param path: of its memory, on the host.
    :param size: bytes that memory and disk take.
    :param vcpus: that it has, whatever its label says by now; 0 if nobody knows.
    :param memory: bytes of it, likewise.
    :param saved_at: when its memory was saved, in seconds since the epoch; 0 if nobody knows.
    """

    name: OwnedVolume
    record: VmRecord
    xml: str
    path: str
    size: int
    vcpus: int = 0
    memory: int = 0
    saved_at: float = 0.0

    @property
    def vm_id(self) -> str:
        """Its id, which it has for as long as it lives."""
        return self.name.vm_id

    @property
    def slot(self) -> int:
        """The slot of which it has the name: it can be thawed in no other."""
        return self.name.slot

    @property
    def domain(self) -> str:
        """The name of its domain."""
        return domain_name(self.slot)

    @property
    def until(self) -> datetime:
        """When it is to go."""
        return moment(self.record.until)

    @property
    def frozen_at(self) -> float:
        """When it was frozen, or else registered, in seconds since the epoch."""
        return self.saved_at or moment(self.record.since).timestamp()


@dataclass(frozen=True)
class Found:
    """What was read.

    :param whole: the VMs that can be thawed.
    :param unread: why the host could not say what the others are, by their ids.
    """

    whole: tuple[FrozenVm, ...]
    unread: Mapping[str, str]


class FrozenVms:
    """The frozen VMs of one host that belong to one owner.

    :param host: its name, for the log.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._vms: dict[str, FrozenVm] = {}
        self._unread: Mapping[str, str] = {}
        self.busy: set[str] = set()
        """The ids of those that are being frozen or thawed at this moment."""

    def __iter__(self) -> Iterator[FrozenVm]:
        return iter(tuple(self._vms.values()))

    @property
    def vm_ids(self) -> frozenset[str]:
        """The ids of all that are not to be swept."""
        return frozenset({*self._vms, *self._unread, *self.busy})

    @property
    def settled(self) -> frozenset[str]:
        """The ids of those that are frozen, and neither being frozen nor thawed."""
        return frozenset(self._vms.keys() - self.busy)

    @property
    def has_unread(self) -> bool:
        """Whether nobody knows of some which saved states their disks are based on."""
        return bool(self._unread)

    @property
    def states_in_use(self) -> frozenset[str]:
        """The ids of the saved states that their disks are based on."""
        return frozenset(vm.record.saved for vm in self._vms.values())

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(vm.size for vm in self._vms.values())

    def add(self, vm: FrozenVm) -> None:
        """Keep *vm*."""
        self._vms[vm.vm_id] = vm

    def remove(self, vm_id: str) -> None:
        """Keep the VM of that id no longer, if it is here."""
        self._vms.pop(vm_id, None)

    def clear(self) -> None:
        """Keep none."""
        self._vms.clear()
        self._unread = {}

    def forget_old(self, now: float) -> None:
        """Keep those no longer whose time is up.

        :param now: seconds since the epoch.
        """
        for vm in self:
            if vm.until.timestamp() <= now and vm.vm_id not in self.busy:
                log.info("host {host}: frozen VM {vm} goes: its time is up", **self._named(vm))
                self.remove(vm.vm_id)

    async def compare(
        self,
        seen: Survey,
        before: Collection[str],
        *,
        owner_id: str,
        live: Collection[str],
        read: Read,
    ) -> None:
        """Keep what is there and whole, and nothing else.

        :param before: what was :attr:`settled` before the host was looked at.
        :param live: the ids of all registered VMs, on any host.
        :raises LatentLibvirtError: if the host cannot be asked.
        """
        own = {name.vm_id: name for name in seen.frozen if name.owner_id == owner_id}
        running = seen.vm_ids()
        for vm_id in self.settled.intersection(before):
            # The memory of one that runs, after a thaw that has failed late, is out of date.
            if vm_id in running or vm_id in live or vm_id not in own:
                why = "runs" if vm_id in running else "is gone" if vm_id not in own else ELSEWHERE
                log.warn(
                    "host {host}: frozen VM {vm} {why}", why=why, **self._named(self._vms[vm_id])
                )
                self.remove(vm_id)
        # One that runs is frozen no more, or not yet.
        known = {*live, *self._vms, *self.busy, *running}
        new = [name for vm_id, name in own.items() if vm_id not in known]
        found = await read(new) if new else Found((), {})
        for vm in found.whole:
            if vm.vm_id not in live:
                self.add(vm)
        self._note_unread(found.unread)

    def _note_unread(self, unread: Mapping[str, str]) -> None:
        """Keep what cannot be read now: it may be whole."""
        for vm_id in unread.keys() - self._unread.keys():
            log.error(
                "host {host}: frozen VM {id} cannot be read: {why}. It is kept. Delete its volumes "
                "if they are damaged.",
                host=self._host,
                id=vm_id,
                why=unread[vm_id],
            )
        self._unread = dict(unread)

    def _named(self, vm: FrozenVm) -> dict[str, str]:
        return {"host": self._host, "vm": f"{vm.domain} (id {vm.vm_id})"}


def moment(text: str) -> datetime:
    """Return when *text*, of a domain's metadata, says; if it says no time, that was long ago.

    Anyone who may change a domain may write anything there, and no sweep is to stop at that.
    """
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: beyond what a datetime can be
        return datetime.fromtimestamp(0, UTC)
