# SPDX-License-Identifier: GPL-2.0-only
"""The claims of the README: our pool against its rivals, in one run on one machine.

All rivals run the same job in turn, in VMs with the same accelerator, memory and vCPUs. In a round
each runs one job, and then a burst. At the end each is killed while it runs a job, and what is left
is counted. A rival that fails is left out, and the others run on. Prints a table of medians and a
line of JSON; progress goes to stderr. Ends with status 1 if a rival was left out.

    make bench-compare ROUNDS=2 JOBS=4 VMS=2
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import libvirt

import gate as gate_module
from fixture import image, lab_with_image
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.host.libvirtd.event_loop import ensure_running
from latent_libvirt.stress.measure.processes import tree_usage
from peers import Autopkgtest, Debvm, Peer, peer_image, session
from remains import MIB, Remains, disk, memory, remains, vms
from rivals import Bare, Bench, Ours, Session, libvirt_worker
from upstream import make_base_image

RIVALS = {
    "bare": "bare script, resumed (the floor)",
    "spare": "latent_libvirt, from a spare",
    "resumed": "latent_libvirt, resumed",
    "channel": "latent_libvirt, resumed, over a channel",
    "cold": "latent_libvirt, cold",
    "libvirt-worker": "Buildbot's LibVirtWorker",
    "autopkgtest": "autopkgtest-virt-qemu",
    "debvm": "debvm-run",
}
NOT_KILLED = ("spare", "channel")
"""Their pool is that of ``resumed``, which is killed."""

SINGULAR = {"processes": "process", "domains": "domain", "files": "file"}
FAILURES = (AssertionError, OSError, RuntimeError, LatentLibvirtError, libvirt.libvirtError)
"""What leaves a rival out. A busy machine may be too slow for one."""

Sessions = tuple[Session, ...]
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


class Run:
    """One run of all rivals, each of which is ready, or left out with the reason.

    :ivar found: the figures of each rival.
    :ivar failed: by rival, why it was left out.
    """

    def __init__(self, bench: Bench, options: Options, stack: ExitStack) -> None:
        self._bench = bench
        self._options = options
        self._stack = stack
        self._sessions: dict[str, Session] = {}
        self._ends: dict[str, ExitStack] = {}
        self.found = {name: Figures() for name in options.rivals}
        self.failed: dict[str, str] = {}

    def go(self) -> None:
        """Get all rivals ready, and measure them in turn."""
        self._get_ready()
        for number in range(self._options.rounds):
            for name in self._options.rivals:
                self._measure(name, f"round {number + 1} of {self._options.rounds}", self._round)
        for name in self._options.rivals:
            if name not in NOT_KILLED:
                self._measure(name, "killed", partial(measure_kill, self._bench))

    def _get_ready(self) -> None:
        """Get the rivals ready, ours first.

        Our pools save no slots ahead where others have saved theirs, and end when the others have
        ended.
        """
        labels = 2 if "channel" in self._options.rivals else 1
        self._enter(self._ours("resumed", "resume", labels), "resumed", "spare", "channel")
        self._enter(self._ours("cold", "boot"), "cold")
        self._enter(lambda: _alone(Bare(self._bench).session()), "bare")
        self._enter(lambda: _alone(self._libvirt_worker()), "libvirt-worker")
        kinds: dict[str, type[Peer]] = {"autopkgtest": Autopkgtest, "debvm": Debvm}
        for name, kind in kinds.items():
            self._enter(lambda name=name, kind=kind: _alone(self._peer(name, kind)), name)

    def _enter(self, make: Callable[[], AbstractContextManager[Sessions]], *names: str) -> None:
        wanted = [name for name in names if name in self._options.rivals]
        if not wanted:
            return
        say(f"{RIVALS[names[0]]} gets ready")
        before = disk(self._bench.volumes(), ())
        end = self._stack.enter_context(ExitStack())
        self._ends |= dict.fromkeys(wanted, end)
        with self._guarded(*wanted):
            self._sessions |= dict(zip(names, end.enter_context(make()), strict=False))
        kinds = 1 + ("channel" in wanted)
        kept = (disk(self._bench.volumes(), ()) - before) / (self._bench.vms * kinds) / MIB
        for name in wanted:
            self.found[name].kept = round(kept, 1)

    def _ours(
        self, name: str, start: str, labels: int = 1
    ) -> Callable[[], AbstractContextManager[Sessions]]:
        return lambda: Ours(self._bench, name, start, labels=labels).sessions()

    def _libvirt_worker(self) -> AbstractContextManager[Session]:
        base = self._bench.directory / "base_image"
        make_base_image(image(), base)
        return libvirt_worker(self._bench, base)

    def _peer(self, name: str, kind: type[Peer]) -> AbstractContextManager[Session]:
        return session(self._bench, kind, peer_image(self._bench.directory / name))

    def _round(self, rival: Session, figures: Figures) -> None:
        measure_one(self._bench, rival, figures)
        measure_burst(self._bench, rival, figures, self._options.jobs)

    def _measure(self, name: str, what: str, measure: Callable[[Session, Figures], None]) -> None:
        if name in self.failed:
            return
        say(f"{what}: {RIVALS[name]}")
        with self._guarded(name):
            measure(self._sessions[name], self.found[name])

    @contextmanager
    def _guarded(self, *names: str) -> Iterator[None]:
        """Leave the rivals out if the block fails; the others run on, as if they had not been."""
        before = self._remains()
        try:
            yield
        except FAILURES as error:
            self.failed |= dict.fromkeys(names, f"{error}".splitlines()[0] if f"{error}" else "?")
            for name in names:
                say(f"left out: {RIVALS[name]}: {self.failed[name]}")
            self._end(names[0], before)

    def _end(self, name: str, before: Remains) -> None:
        """End a rival that has failed, and those that share its master."""
        end = self._ends[name]
        same = [other for other, stack in self._ends.items() if stack is end]
        self.failed |= {n: "it shares what failed" for n in same if n not in self.failed}
        with suppress(*FAILURES):
            end.close()
        (self._remains() - before).remove()
        self._bench.wait_for_rest()
        self._bench.gate.clear()

    def _remains(self) -> Remains:
        return remains(self._bench.directory, self._bench.lab, self._bench.volumes)


@contextmanager
def _alone(rival: AbstractContextManager[Session]) -> Iterator[Sessions]:
    with rival as session:
        yield (session,)


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


def table(found: dict[str, Figures], failed: Collection[str] = ()) -> list[str]:
    """Return a table, as it stands in a document.

    :param failed: rivals that were left out; what they had done until then is there.
    """
    rows = [["", *COLUMNS]]
    for name, figures in found.items():
        title = f"{RIVALS[name]} (left out)" if name in failed else RIVALS[name]
        rows.append([title, *(cell(figures) for cell in COLUMNS.values())])
    rows.insert(1, ["---"] * len(rows[0]))
    return [f"| {' | '.join(row)} |" for row in rows]


def summary(
    found: dict[str, Figures], options: Options, failed: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Return what the line of JSON says."""
    return {
        "rounds": options.rounds,
        "jobs": options.jobs,
        "vms": options.vms,
        "accelerator": "tcg",
        "load": [round(load, 1) for load in os.getloadavg()],
        "seconds": round(time.monotonic() - BEGAN),
        "rivals": {name: _rounded(asdict(figures)) for name, figures in found.items()},
        "failed": dict(failed),
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
        run = compare(options)
    except KeyboardInterrupt:
        say("interrupted; no process, domain or file of this run is left")
        sys.exit(130)
    except FAILURES as error:
        say(f"failed, see the line before: {error}")
        say("Nothing of this run is left.")
        sys.exit(1)
    print("\n".join(table(run.found, run.failed)))
    print(json.dumps(summary(run.found, options, run.failed)))
    if run.failed:
        say("A busy machine may be too slow. RIVALS chooses rivals, ROUNDS=1 takes less time.")
        sys.exit(1)


def compare(options: Options) -> Run:
    """Return a run that has ended."""
    with lab_with_image() as (lab, directory), gate_module.opened() as gate, ExitStack() as stack:
        run = Run(Bench(lab, gate, directory, options.vms), options, stack)
        run.go()
    return run


def arguments() -> Options:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=_count, default=2)
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
