# SPDX-License-Identifier: GPL-2.0-only
"""Processor time and memory of processes and all that they have started, from ``/proc``.

Memory is what is resident without shared memory, which would count once for each process of
PostgreSQL.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

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

    def add(self, name: str, pid: int) -> None:
        """Watch one more."""
        self._pids[name] = pid

    def sample(self) -> list[Row]:
        """Return the cores that each part has used since the last sample, and its memory."""
        watched = self._pids.copy()  # another thread may add one
        used = {name: tree_usage(pid) for name, pid in watched.items()}
        used[self._own_name] = replace(_usage(os.getpid()), cpu=time.process_time())
        used[MACHINE] = Usage(_machine_busy())
        return [row for name, usage in used.items() if (row := self._row(name, usage)) is not None]

    def _row(self, name: str, usage: Usage) -> Row | None:
        now = time.time()
        before, self._last[name] = self._last.get(name), (now, usage.cpu)
        if before is None or now <= before[0]:
            return None
        cores = max(0.0, usage.cpu - before[1]) / (now - before[0])
        return {"at": now, "process": name, "cores": round(cores, 4), "memory": usage.memory}


def tree_usage(pid: int) -> Usage:
    """Return what a process and its descendants have used; nothing of one that is gone."""
    return sum((_usage(each) for each in _tree(pid)), Usage())


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from _tree(int(child))


def _usage(pid: int) -> Usage:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return Usage()
    # utime, stime, cutime and cstime of proc(5), without the first two fields.
    cpu = sum(map(int, fields[11:15])) / _TICKS
    return Usage(cpu, (int(pages[1]) - int(pages[2])) * _PAGE)


def _machine_busy() -> float:
    """Return the seconds of a core that the machine has used."""
    user, nice, system, _idle, _wait, *interrupts = Path("/proc/stat").read_text().split()[1:9]
    return sum(map(int, (user, nice, system, *interrupts))) / _TICKS
