# SPDX-License-Identifier: GPL-2.0-only
"""What a rival has on the machine: processes, domains and files, and the VMs' disk and memory.

All rivals of a run keep their files below one directory, and a VM's command line has the path of
its disk. So a process of the run is one whose command line has that directory in it.
"""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import libvirt

from lab import Lab

Places = Callable[[], Iterable[Path]]
"""Gives the files that a rival may have made for its VMs."""

MIB = 1024**2
_BLOCK = 512
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Remains:
    """What there is at one moment; the difference of two is what has been added.

    :param domains: those that run, by name and libvirt's number.
    """

    processes: frozenset[int] = frozenset()
    domains: frozenset[tuple[str, int]] = frozenset()
    files: frozenset[Path] = frozenset()

    def __sub__(self, other: Remains) -> Remains:
        return Remains(
            self.processes - other.processes,
            self.domains - other.domains,
            self.files - other.files,
        )

    def __and__(self, other: Remains) -> Remains:
        return Remains(
            self.processes & other.processes,
            self.domains & other.domains,
            self.files & other.files,
        )

    def counts(self) -> dict[str, int]:
        """Return how many there are of each kind."""
        return {
            "processes": len(self.processes),
            "domains": len(self.domains),
            "files": len(self.files),
        }

    def remove(self) -> None:
        """Kill the processes and delete the files; a domain ends with its process."""
        for pid in self.processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for file in self.files:
            file.unlink(missing_ok=True)


def remains(directory: Path, lab: Lab, places: Places) -> Remains:
    """Return what there is of the run in *directory*, with the files of one rival."""
    with lab.connection() as connection:
        running = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        domains = frozenset((domain.name(), domain.ID()) for domain in running)
    return Remains(frozenset(processes(directory)), domains, frozenset(places()))


def processes(directory: Path, program: str = "") -> Iterator[int]:
    """Yield the processes whose command line has *directory* in it.

    :param program: what the name of the program begins with.
    """
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            command = _command(process)
            name = command.partition(b"\0")[0].rpartition(b"/")[2]
            if os.fsencode(directory) in command and name.startswith(program.encode()):
                yield int(process.name)


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it has ended since it was listed
        return b""


def vms(directory: Path) -> list[int]:
    """Return the processes of the VMs of the run in *directory*."""
    return list(processes(directory, "qemu-system"))


def memory(vm: int) -> int:
    """Return the bytes of a VM's process, its share of what it shares with others among them."""
    try:
        found = _PSS.search(Path(f"/proc/{vm}/smaps_rollup").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def disk(files: Iterable[Path], of_vms: Iterable[int]) -> int:
    """Return the bytes that *files* take on disk, and what VMs hold open after its deletion."""
    held = (status for vm in of_vms for status in _deleted(vm))
    there = (status for file in files if (status := _status(file)) is not None)
    return sum(status.st_blocks * _BLOCK for status in (*there, *held))


def _deleted(vm: int) -> Iterator[os.stat_result]:
    try:
        descriptors = list(Path(f"/proc/{vm}/fd").iterdir())
    except OSError:
        return
    for status in filter(None, map(_status, descriptors)):
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
            yield status


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
