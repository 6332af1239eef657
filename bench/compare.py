# SPDX-License-Identifier: GPL-2.0-only
"""The claims of the README: our pool against its rivals, in one run on one machine.

All rivals run the same job in turn, in VMs with the same accelerator, memory and vCPUs. In a round
each runs one job, and then a burst. At the end each is killed while it runs a job, and what is left
is counted. Prints a table of medians and a line of JSON; progress goes to stderr.

    make bench-compare ROUNDS=3 JOBS=4 VMS=2
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import gate as gate_module
from fixture import image, lab_with_image
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.host.libvirtd.event_loop import ensure_running
from latent_libvirt.images.local import LocalImage
from latent_libvirt.stress.measure.processes import tree_usage
from peers import Autopkgtest, Debvm, Peer, peer_image, session
from remains import MIB, disk, memory, remains, vms
from rivals import Bare, Bench, Ours, Session, libvirt_worker
from upstream import make_base_image

RIVALS = {
    "bare": "bare script, resumed (the floor)",
    "spare": "latent_libvirt, from a spare",
    "resumed": "latent_libvirt, resumed",
    "cold": "latent_libvirt, cold",
    "libvirt-worker": "Buildbot's LibVirtWorker",
    "autopkgtest": "autopkgtest-virt-qemu",
    "debvm": "debvm-run",
}
NOT_KILLED = ("spare",)
"""It is the pool of ``resumed``, which is killed."""

SINGULAR = {"processes": "process", "domains": "domain", "files": "file"}
BEGAN = time.monotonic()
SETTLE = 5.0
"""Seconds after a kill until what is left is counted."""


@dataclass(frozen=True)
class Options:
    """What is measured.

    :param jobs: of a burst.
    :param vms: how many a rival may have at once.
    :param rivals: their names.
    """

    rounds: int
    jobs: int
    vms: int
    rivals: list[str]


@dataclass
class Figures:
    """What was measured of a rival; a list has an entry for each round.

    :param first_output: seconds from a request to the job's first output.
    :param disk: MiB that a VM takes while its job runs.
    :param memory: MiB of a VM's process, at the same time.
    :param per_minute: jobs of a burst, by the time from the first request to the last end.
    :param cpu: seconds of its master for each job of a burst, with the VM's end.
    :param kept: MiB on disk for each VM that there may be, also while none runs.
    :param left: after its SIGKILL.
    :param left_after_restart: of that, after its restart; ``None``: there is nothing to restart.
    """

    first_output: list[float] = field(default_factory=list)
    disk: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    per_minute: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    kept: float = 0.0
    left: dict[str, int] = field(default_factory=dict)
    left_after_restart: dict[str, int] | None = None


def measure_one(bench: Bench, rival: Session, figures: Figures) -> None:
    """Run one job, and look at its VM while it runs."""
    before = disk(rival.places(), ())
    with rival.turn():
        requested = time.monotonic()
        rival.request()
        arrival = bench.gate.arrival()
        running = vms(bench.directory)
        taken = disk(rival.places(), running) - before
        figures.memory.append(max(map(memory, running)) / MIB)
        arrival.release()
        rival.finish()
    figures.first_output.append(arrival.at - requested)
    figures.disk.append(taken / len(running) / MIB)


def measure_burst(bench: Bench, rival: Session, figures: Figures, jobs: int) -> None:
    """Run many jobs that are asked for at once."""
    used = _cpu(rival)
    with rival.turn():
        began = time.monotonic()
        for _ in range(jobs):
            rival.request()
        for _ in range(jobs):
            bench.gate.arrival().release()
        rival.finish()
        figures.per_minute.append(jobs * 60 / (time.monotonic() - began))
    if rival.master is not None:
        figures.cpu.append((_cpu(rival) - used) / jobs)


def _cpu(rival: Session) -> float:
    return 0.0 if rival.master is None else tree_usage(rival.master.pid).cpu


def measure_kill(bench: Bench, rival: Session, figures: Figures) -> None:
    """Kill the rival while a job runs, and count what is left; remove it at the end."""
    before = remains(bench.directory, bench.lab, rival.places)
    with rival.turn():
        rival.request()
        arrival = bench.gate.arrival()
        rival.kill()
        time.sleep(SETTLE)
        left = remains(bench.directory, bench.lab, rival.places) - before
        figures.left = left.counts()
        if rival.restart():
            swept = remains(bench.directory, bench.lab, rival.places) & left
            figures.left_after_restart = swept.counts()
        arrival.release()
        (left & remains(bench.directory, bench.lab, rival.places)).remove()


class Stage:
    """The rivals that take part, each ready; they end in the reverse order."""

    def __init__(self, bench: Bench, options: Options, stack: ExitStack) -> None:
        self._bench = bench
        self._names = options.rivals
        self._stack = stack
        self.sessions: dict[str, Session] = {}
        self.kept: dict[str, float] = {}

    def fill(self) -> None:
        """Get all rivals ready.

        Our pools come first. They save no slots ahead where others have saved theirs, and end when
        the others have ended.
        """
        bench = self._bench
        self._enter_ours("resumed", "resume", "spare")
        self._enter_ours("cold", "boot")
        self._enter(lambda: [Bare(bench).session()], "bare")
        self._enter(self._libvirt_worker, "libvirt-worker")
        self._enter_peers()
        self.sessions = {name: self.sessions[name] for name in self._names}

    def _enter(
        self, make: Callable[[], Iterable[AbstractContextManager[Session]]], *names: str
    ) -> None:
        if not set(names) & set(self._names):
            return
        say(f"{RIVALS[names[0]]} gets ready")
        before = disk(self._bench.volumes(), ())
        for name, made in zip(names, make(), strict=True):
            self.sessions[name] = self._stack.enter_context(made)
        kept = (disk(self._bench.volumes(), ()) - before) / self._bench.vms / MIB
        self.kept |= dict.fromkeys(names, round(kept, 1))

    def _enter_ours(self, name: str, start: str, *with_spares: str) -> None:
        def make() -> list[AbstractContextManager[Session]]:
            ours = Ours(self._bench, name, start)
            plain, spares = self._stack.enter_context(ours.sessions())
            return [nullcontext(each) for each in (plain, spares)[: 1 + len(with_spares)]]

        self._enter(make, name, *with_spares)

    def _libvirt_worker(self) -> list[AbstractContextManager[Session]]:
        base = self._bench.directory / "base_image"
        make_base_image(image(), base)
        return [libvirt_worker(self._bench, base)]

    def _enter_peers(self) -> None:
        kinds: dict[str, type[Peer]] = {"autopkgtest": Autopkgtest, "debvm": Debvm}
        for name in (name for name in kinds if name in self._names):
            kind, built = kinds[name], peer_image(self._bench.directory / name)
            self._enter(partial(_peers, self._bench, kind, built), name)


def _peers(
    bench: Bench, kind: type[Peer], built: LocalImage
) -> list[AbstractContextManager[Session]]:
    return [session(bench, kind, built)]


def measure(bench: Bench, options: Options) -> dict[str, Figures]:
    """Return the figures of all rivals."""
    with ExitStack() as stack:
        stage = Stage(bench, options, stack)
        stage.fill()
        found = {name: Figures(kept=stage.kept[name]) for name in options.rivals}
        for number in range(options.rounds):
            for name, rival in stage.sessions.items():
                say(f"round {number + 1} of {options.rounds}: {RIVALS[name]}")
                measure_one(bench, rival, found[name])
                measure_burst(bench, rival, found[name], options.jobs)
        for name, rival in stage.sessions.items():
            if name not in NOT_KILLED:
                say(f"killed: {RIVALS[name]}")
                measure_kill(bench, rival, found[name])
    return found


def say(what: str) -> None:
    """Report how far the run is."""
    print(f"{time.monotonic() - BEGAN:5.0f} s  {what}", file=sys.stderr, flush=True)


def spread(values: list[float], digits: int = 1) -> str:
    """Return the median, and the least and the greatest value if there are several."""
    if not values:
        return "-"
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def remainder(counts: dict[str, int] | None) -> str:
    """Return what is left in words."""
    if counts is None:
        return "-"
    return ", ".join(_counted(kind, count) for kind, count in counts.items() if count) or "nothing"


def _counted(kind: str, count: int) -> str:
    return f"{count} {SINGULAR[kind] if count == 1 else kind}"


COLUMNS: dict[str, Callable[[Figures], str]] = {
    "first output, s": lambda of: spread(of.first_output, 2),
    "jobs/min": lambda of: spread(of.per_minute),
    "disk, MiB": lambda of: spread(of.disk),
    "kept, MiB": lambda of: f"{of.kept:.0f}",
    "memory, MiB": lambda of: spread(of.memory, 0),
    "master CPU, s": lambda of: spread(of.cpu, 2),
    "left after kill -9": lambda of: remainder(of.left or None),
    "after a restart": lambda of: remainder(of.left_after_restart),
}


def table(found: dict[str, Figures]) -> list[str]:
    """Return a table, as it stands in a document."""
    rows = [["", *COLUMNS]]
    rows += [[RIVALS[name], *(cell(of) for cell in COLUMNS.values())] for name, of in found.items()]
    rows.insert(1, ["---"] * len(rows[0]))
    return [f"| {' | '.join(row)} |" for row in rows]


def summary(found: dict[str, Figures], options: Options) -> dict[str, Any]:
    """Return what the line of JSON says."""
    return {
        "rounds": options.rounds,
        "jobs": options.jobs,
        "vms": options.vms,
        "accelerator": "tcg",
        "transport": "tcp",
        "load": [round(load, 1) for load in os.getloadavg()],
        "seconds": round(time.monotonic() - BEGAN),
        "rivals": {name: _rounded(asdict(figures)) for name, figures in found.items()},
    }


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        key: [round(each, 3) for each in value] if isinstance(value, list) else value
        for key, value in figures.items()
    }


def main() -> None:
    """Measure, and print what was found."""
    options = arguments()
    ensure_running()
    try:
        with lab_with_image() as (lab, directory), gate_module.opened() as gate:
            found = measure(Bench(lab, gate, directory, options.vms), options)
    except KeyboardInterrupt:
        say("interrupted; no process, domain or file of this run is left")
        sys.exit(130)
    except (AssertionError, OSError, RuntimeError, LatentLibvirtError) as error:
        say(f"failed, see the line before: {error}")
        say("A busy machine may be too slow. RIVALS leaves some out. Nothing of this run is left.")
        sys.exit(1)
    print("\n".join(table(found)))
    print(json.dumps(summary(found, options)))


def arguments() -> Options:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=_count, default=3)
    parser.add_argument("--jobs", type=_count, default=4, help="of a burst")
    parser.add_argument("--vms", type=_count, default=2, help="how many there may be at once")
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=list(RIVALS))
    return Options(**vars(parser.parse_args()))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


if __name__ == "__main__":
    main()
