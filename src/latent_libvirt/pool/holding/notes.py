# SPDX-License-Identifier: GPL-2.0-only
"""Notes of the frozen VMs of a pool: they outlive the master, and the hosts in its configuration.

A host knows what it has frozen. Nobody can ask one that has left the configuration, or that is not
usable. What was frozen there is known from these notes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.host.states.frozen import moment
from latent_libvirt.pool.holding import builds

if TYPE_CHECKING:
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.status.names import BuildRef

log = Logger()

MOST: Final = 1000
"""Notes of a pool."""

KEPT_AFTER_DEADLINE: Final = 30 * 86400.0
"""Seconds after its deadline for which a VM is noted that nobody can delete."""


class FrozenMemory(Protocol):
    """What keeps notes from one master process to the next."""

    async def load_frozen(self) -> Sequence[Mapping[str, Any]]:
        """Return the notes that were saved."""

    async def save_frozen(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Save them."""


@dataclass(frozen=True)
class Note:
    """What is to be known of a frozen VM without its host.

    :param machine: the UUID of its host, whatever that is called.
    :param until: when it is to go, ISO 8601.
    :param frozen_at: seconds since the epoch.
    :param build: that it was for, as its record has it.
    """

    vm_id: str
    host: str
    machine: str
    domain: str
    worker: str
    label: str
    size: int
    until: str
    frozen_at: float
    build: str = ""

    @property
    def job(self) -> BuildRef | None:
        """What ran there last, as far as it is known."""
        return builds.read(self.build)

    @classmethod
    def of(cls, vm: FrozenVm, host: Host) -> Note:
        """Return the note of a VM on its host."""
        record = vm.record
        return cls(
            vm.vm_id,
            host.name,
            host.uuid,
            vm.domain,
            record.worker,
            record.label,
            vm.size,
            record.until,
            vm.frozen_at,
            record.build,
        )


@dataclass(frozen=True)
class OutOfReach:
    """A frozen VM that can neither be thawed nor deleted now.

    :param why: in a sentence.
    :param remedy: what to do, in a sentence.
    """

    note: Note
    why: str
    remedy: str


class FrozenNotes:
    """The notes of one pool.

    :param hosts: by name; those that are configured.
    :param running: returns the ids of the VMs that are frozen no more, since they go on somewhere.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        memory: FrozenMemory,
        reactor: Any,
        *,
        running: Callable[[], Collection[str]],
    ) -> None:
        self._hosts = hosts
        self._running = running
        self._memory = memory
        self._reactor = reactor
        self._notes: dict[str, Note] = {}
        self._saved: dict[str, Note] = {}
        self._is_saving = False

    async def load(self) -> None:
        """Take over what the master before has noted."""
        found = filter(None, map(_decoded, await self._memory.load_frozen()))
        self._notes = self._saved = {note.vm_id: note for note in found}

    def look(self) -> None:
        """Note what is frozen at this moment, and save that if it is news."""
        notes = {note.vm_id: note for note in self._staying()}
        for host in self._hosts.values():
            if host.usable:
                notes |= {vm.vm_id: self._note(vm, host) for vm in host.frozen}
        self._notes = dict(list(notes.items())[-MOST:])
        self._save_news()

    def forget(self, vm_id: str) -> None:
        """Note the VM of that id no longer: it goes on, on whatever host."""
        self._notes = {key: note for key, note in self._notes.items() if key != vm_id}
        self._save_news()

    def _save_news(self) -> None:
        if not self._is_saving:
            in_background(self._save(), "frozen VMs cannot be noted")

    def _note(self, vm: FrozenVm, host: Host) -> Note:
        """Return the note that there is, which is the same as long as nothing changes."""
        known = self._notes.get(vm.vm_id)
        facts = (host.name, host.uuid, vm.record.until)
        if known is not None and (known.host, known.machine, known.until) == facts:
            return known
        return Note.of(vm, host)

    def _staying(self) -> list[Note]:
        running = self._running()
        notes = self._notes.values()
        return [note for note in notes if note.vm_id not in running and self._is_to_stay(note)]

    def _is_to_stay(self, note: Note) -> bool:
        """Return whether nobody knows better: its host does, if it can be asked."""
        if any(host.usable and host.uuid == note.machine for host in self._hosts.values()):
            return False
        over = self._reactor.seconds() - moment(note.until).timestamp()
        return bool(over <= KEPT_AFTER_DEADLINE)

    async def _save(self) -> None:
        self._is_saving = True
        try:
            while self._notes != self._saved:
                notes = self._notes
                await self._memory.save_frozen([asdict(note) for note in notes.values()])
                self._saved = notes
        finally:
            self._is_saving = False

    def out_of_reach(self) -> Iterator[OutOfReach]:
        """Yield the frozen VMs that no usable host has."""
        notes = self._staying()
        there = {vm_id for host in self._hosts.values() for vm_id in host.frozen.vm_ids}
        for note in notes:
            if note.vm_id not in there:
                yield OutOfReach(note, *self._why(note))

    def _why(self, note: Note) -> tuple[str, str]:
        host = self._hosts.get(note.host)
        if host is None:
            remedy = (
                f"Put it back there to thaw the VM. Once the host is back, the VM goes at its "
                f"deadline, {note.until}."
            )
            return f"Host {note.host} is not in the pool's YAML file any more.", remedy
        if not host.usable:
            return f"Host {note.host} is not usable: {host.trouble}.", "See to the host."
        why = f"Host {note.host} is another machine now, and the VM is on the one before."
        return why, f"Give the machine with the UUID {note.machine} another name in the YAML file."


def _decoded(value: Any) -> Note | None:
    """Return a note, or ``None`` if it is none of this version's."""
    try:
        note = Note(**value)
    except TypeError:
        return None
    kinds = {"size": int, "frozen_at": int | float}
    known = (isinstance(getattr(note, f.name), kinds.get(f.name, str)) for f in fields(Note))
    return note if all(known) else None
