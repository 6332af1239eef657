# SPDX-License-Identifier: GPL-2.0-only
"""Reasons for which a label has no room, each in a sentence. Pure, no I/O.

They follow the rules by which ``room/capacity.py`` gives room, and name what an operator can
change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from latent_libvirt.config.units import GIB
from latent_libvirt.status.names import Target

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.pool.room.allocations import Allocation
    from latent_libvirt.pool.room.amounts import Size
    from latent_libvirt.pool.room.capacity import Capacity
    from latent_libvirt.status.queue import Kind

_MOST_NAMED = 3
"""Held VMs that a sentence names, and hosts whose images it says are missing."""


@dataclass(frozen=True)
class Reason:
    """Why a request waits.

    :param text: a sentence for people, without its full stop.
    """

    kind: Kind
    text: str


@dataclass(frozen=True)
class NoRoom:
    """Why a label has no room.

    :param allocations: those of which one has to be given back, if that would help.
    """

    reason: Reason
    allocations: frozenset[Allocation] = frozenset()


@dataclass(frozen=True)
class RoomFacts:
    """What room depends on.

    :param troubles: why hosts are not usable, or get nothing for a while, by host.
    :param unfit: why a label gets no VM on some of its hosts, by label and host.
    :param withdrawn: the labels that were configured, and are not any more.
    :param reserved: the slots, by host, that wait for VMs to be thawed.
    :param held: the ids of the VMs that are held, by what each of them takes.
    :param missing: why a label's image cannot be had on some of its hosts, by label and host.
    """

    config: PoolConfig
    capacity: Capacity
    troubles: Mapping[str, str]
    unfit: Mapping[str, Mapping[str, str]]
    withdrawn: Collection[str] = ()
    reserved: Mapping[str, frozenset[int]] = field(default_factory=dict)
    held: Mapping[Allocation, str] = field(default_factory=dict)
    missing: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def why_no_room(self, label: str, size: Size | None = None) -> NoRoom | None:
        """Return why no VM of *label* can start now, or ``None`` if one can.

        :param size: that a build has chosen, or ``None`` for the label's.

        One of a label that was never configured can: its build is to start, and to fail.
        """
        if label in self.withdrawn:
            text = f"label {label} is not in the pool's YAML file any more"
            return NoRoom(Reason("drained", text))
        if label not in self.config.labels or self.capacity.room(label, size):
            return None
        if self.capacity.is_drained(Target("label", label)):
            return NoRoom(Reason("drained", f"label {label} is drained"))
        found = self._full(label) or self._no_host(label, size)
        reason = replace(found.reason, text=found.reason.text + self._without_image(label))
        return replace(found, reason=reason)

    def _without_image(self, label: str) -> str:
        """Return as the end of a sentence that no host has the label's image, if that is so."""
        hosts, missing = self.config.hosts_for(label), self.missing.get(label, {})
        if not hosts or any(host not in missing for host in hosts):
            return ""
        shown = "; ".join(f"{host}: {missing[host].rstrip('.')}" for host in hosts[:_MOST_NAMED])
        return f"; and no host has its image ({shown}{', ...' * (len(hosts) > _MOST_NAMED)})"

    def _full(self, label: str) -> NoRoom | None:
        taken = self.capacity.taken
        own = frozenset(allocation for allocation in taken if allocation.label == label)
        most, most_own = self.config.master.max_vms, self.config.labels[label].max_vms
        is_full = len(own) >= most_own  # then the end of another label's VM alone does not help
        if len(taken) >= most:
            held = self._held_among(own if is_full else taken)
            return NoRoom(Reason("cap", f"max_vms of the master is reached ({most}){held}"), taken)
        if is_full:
            text = f"max_vms of label {label} is reached ({most_own}){self._held_among(own)}"
            return NoRoom(Reason("cap", text), own)
        return None

    def _held_among(self, allocations: Iterable[Allocation]) -> str:
        """Return which of *allocations* an operator can free, as the end of a sentence."""
        names = sorted(self.held[each] for each in allocations if each in self.held)
        if len(names) <= 1:
            command = f"latent-libvirt release {' '.join(names)} frees its place"
            return f", 1 of its VMs is held: {command}" if names else ""
        shown = ", ".join(names[:_MOST_NAMED]) + ", ..." * (len(names) > _MOST_NAMED)
        command = "latent-libvirt release NAME frees the place of one"
        return f", {len(names)} of its VMs are held: {command} ({shown})"

    def _held_on(self, host: str) -> str:
        return self._held_among(each for each in self.capacity.taken if each.host == host)

    def _no_host(self, label: str, size: Size | None) -> NoRoom:
        names = self.config.hosts_for(label)
        whys = self._whys_not(names, label, size)
        kind: Kind = "drained" if all(map(self._is_drained, names)) else "host"
        allocations = frozenset(
            allocation for allocation in self.capacity.taken if allocation.host in names
        )
        text = f"no host has room for label {label} ({'; '.join(whys) or 'it has none'})"
        return NoRoom(Reason(kind, text), allocations)

    def _is_drained(self, host: str) -> bool:
        return self.capacity.is_drained(Target("host", host))

    def _whys_not(self, names: Iterable[str], label: str, size: Size | None) -> list[str]:
        """Return why the hosts *names* have no room; many that lack the image are counted."""
        whys = {name: self._why_not(name, label, size) for name in names}
        missing = self.missing.get(label, {})
        lack_image = [name for name in whys if whys[name] == missing.get(name, "").rstrip(".")]
        counted = lack_image[_MOST_NAMED:]
        named = [f"{name}: {why}" for name, why in whys.items() if name not in set(counted)]
        return [*named, *[f"{len(counted)} more lack its image"] * bool(counted)]

    def _why_not(self, host: str, label: str, size: Size | None) -> str:
        return next(self._whys(host, label, size), self._else(host, label))

    def _else(self, host: str, label: str) -> str:
        if self.config.labels[label].devices:
            return f"its slots with the label's devices are taken{self._held_on(host)}"
        return "its free slots are held by others"

    def _whys(self, host: str, label: str, size: Size | None) -> Iterator[str]:
        if self._is_drained(host):
            yield "drained"
        yield from filter(None, (self.troubles.get(host), self._unfit_on(host, label)))
        most = self.config.hosts[host].slots
        if Counter(allocation.host for allocation in self.capacity.taken)[host] >= most:
            yield f"all its slots are taken ({most}){self._held_on(host)}"
        if self.config.slots_with_devices(label).get(host) == 0:
            yield "it has none of the label's devices"
        wanted = size or self.capacity.caps.labels[label].size
        yield from (text + self._held_on(host) for text in self._over_budget(host, wanted))
        starting, allowed = self.capacity.starting(host), self.config.hosts[host].max_starting
        if allowed and starting >= allowed:
            yield f"{starting} of max_starting VMs are starting"
        if slots := self.reserved.get(host):
            numbers = ", ".join(map(str, sorted(slots)))
            yield f"frozen VMs are about to be thawed in its slots {numbers}"

    def _unfit_on(self, host: str, label: str) -> str:
        return self.unfit.get(label, {}).get(host, "").rstrip(".")

    def _over_budget(self, host: str, wanted: Size) -> Iterator[str]:
        given = self.capacity.given(host)
        vcpus, memory = self.config.hosts[host].vcpu_budget, self.config.hosts[host].memory_budget
        if vcpus is not None and given.vcpus + wanted.vcpus > vcpus:
            yield f"{given.vcpus} of {vcpus} vCPUs are given out, it needs {wanted.vcpus}"
        if memory is not None and given.memory + wanted.memory > memory:
            yield (
                f"{given.memory / GIB:.4g} of {memory / GIB:.4g} GiB of memory are given out, "
                f"it needs {wanted.memory / GIB:.4g}"
            )
