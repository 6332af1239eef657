# SPDX-License-Identifier: GPL-2.0-only
"""Processor time and memory of processes and all that they have started, from ``/proc``.

Memory is what is resident without shared memory, which would count once for each process of
PostgreSQL.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.stress import clock

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MACHINE: Final = "machine"


@dataclass(frozen=True)
class Usage:
    """What a process has used, with those of its children that have ended.

    :param cpu: seconds.
    :param memory: bytes.
    """

    cpu: float = 0.0
    memory: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cpu + other.cpu, self.memory + other.memory)


class ProcessWatch:
    """Samples of processes.

    :param pids: the first process of each part, by name; its descendants belong to it.
    :param own_name: what this process is called, whose descendants are other parts.
    """

    def __init__(self, pids: Mapping[str, int], own_name: str) -> None:
        self._pids = dict(pids)
        self._own_name = own_name
        self._last: dict[str, tuple[float, float]] = {}
        self._sets: dict[str, _ChangingSet] = {}

    def add(self, name: str, pid: int) -> None:
        """Watch one more."""
        self._pids[name] = pid

    def add_set(self, name: str, find: Callable[[], Iterable[int]]) -> None:
        """Watch processes that come and go; *find* returns those there are."""
        self._sets[name] = _ChangingSet(find)

    def sample(self) -> list[Row]:
        """Return the cores that each part has used since the last sample, and its memory."""
        watched = self._pids.copy()  # another thread may add one
        used = {name: tree_usage(pid) for name, pid in watched.items()}
        used |= {name: each.usage() for name, each in self._sets.copy().items()}
        used[self._own_name] = replace(_usage(os.getpid()), cpu=time.process_time())
        used[MACHINE] = Usage(_machine_busy())
        return [row for name, usage in used.items() if (row := self._row(name, usage)) is not None]

    def _row(self, name: str, usage: Usage) -> Row | None:
        now = clock.now()
        before, self._last[name] = self._last.get(name), (now, usage.cpu)
        if before is None or now <= before[0]:
            return None
        cores = max(0.0, usage.cpu - before[1]) / (now - before[0])
        return {"at": now, "process": name, "cores": round(cores, 4), "memory": usage.memory}


class _ChangingSet:
    """Processes without their descendants, of which each counts from when it was first seen."""

    def __init__(self, find: Callable[[], Iterable[int]]) -> None:
        self._find = find
        self._cpu: dict[int, float] = {}
        self._ended = 0.0

    def usage(self) -> Usage:
        """Return what all of them have used, also those that have ended."""
        found = {pid: _usage(pid, alone=True) for pid in self._find()}
        self._ended += sum(cpu for pid, cpu in self._cpu.items() if pid not in found)
        self._cpu = {pid: usage.cpu for pid, usage in found.items()}
        memory = sum(usage.memory for usage in found.values())
        return Usage(self._ended + sum(self._cpu.values()), memory)


def named(prefix: str, pids: Iterable[int], argument: str = "") -> list[int]:
    """Return those processes whose program's name begins like that.

    :param argument: must be part of the command line.
    """
    return [pid for pid in pids if _is(pid, prefix, argument)]


def all_pids() -> list[int]:
    """Return all processes of this machine that can be seen."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _is(pid: int, prefix: str, argument: str) -> bool:
    try:
        name = Path(f"/proc/{pid}/comm").read_text()
        line = Path(f"/proc/{pid}/cmdline").read_bytes() if name.startswith(prefix) else b""
    except OSError:
        return False
    return name.startswith(prefix) and argument.encode() in line


def tree_usage(pid: int) -> Usage:
    """Return what a process and its descendants have used; nothing of one that is gone."""
    return sum((_usage(each) for each in tree(pid)), Usage())


def tree(pid: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from tree(int(child))


def _usage(pid: int, *, alone: bool = False) -> Usage:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return Usage()
    # utime, stime, cutime and cstime of proc(5), without the first two fields.
    cpu = sum(map(int, fields[11 : 13 if alone else 15])) / _TICKS
    return Usage(cpu, (int(pages[1]) - int(pages[2])) * _PAGE)


def _machine_busy() -> float:
    """Return the seconds of a core that the machine has used."""
    user, nice, system, _idle, _wait, *interrupts = Path("/proc/stat").read_text().split()[1:9]
    return sum(map(int, (user, nice, system, *interrupts))) / _TICKS
