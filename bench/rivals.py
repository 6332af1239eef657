# SPDX-License-Identifier: GPL-2.0-only
"""The rivals whose VMs libvirt runs: our pool, LibVirtWorker and a bare script.

``peers.py`` has those that run QEMU without libvirt. Each rival gives a session, which runs jobs of
a gate and can be killed.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import buildmaster
import children
from buildmaster import BuildMaster
from gate import Gate
from lab import STORAGE_POOL, Lab
from latent_libvirt.host.names import OwnedVolume
from pools import PoolSettings, master_cfg, write_pool
from remains import Places, vms
from start import OurPool
from upstream import Upstream

FACTORY = """
job = steps.ShellCommand(name="job", command=["bash", "-c", {job!r}])
factory = util.BuildFactory([job])
"""
LABEL = "debian-12"
CHANNEL = "channel"
OVER_A_CHANNEL = """
channel:
  image: image
  memory: 512MiB
  boot_timeout: 4m
  attach_timeout: 2m
  shutdown: destroy
"""
"""A label like that of ``pools.PoolSettings``, whose workers need no network."""

WORKERS = """
from buildbot.plugins import worker
workers = [
    worker.LibvirtLatentWorker(f"any-{{number}}", pool=pool, label=util.Property("label"))
    for number in range({vms})
]
"""
FIRST_BARE_SLOT = 201
AFTER_A_RESTART = 180.0
"""Seconds that a master has after its restart to finish the jobs and to sweep."""


@dataclass(frozen=True)
class Bench:
    """What all rivals share.

    :param directory: everything that a rival makes is below it.
    :param vms: how many VMs a rival may have at once.
    """

    lab: Lab
    gate: Gate
    directory: Path
    vms: int

    @property
    def volumes(self) -> Places:
        """The files of the storage pool."""
        return (self.lab.sandbox.directory / "storage" / STORAGE_POOL).iterdir

    def wait_for_rest(self, deadline: float = buildmaster.DEADLINE) -> None:
        """Return when no VM is left, and no overlay."""
        buildmaster.wait_for("all VMs to end", self._is_at_rest, deadline=deadline)

    def _is_at_rest(self) -> bool:
        overlays = (OwnedVolume.overlay(file.name) for file in self.volumes())
        return not vms(self.directory) and not any(overlays)


class Session(Protocol):
    """A rival that is ready."""

    places: Places
    master: BuildMaster | None
    """Its master, if it has one."""

    def turn(self) -> AbstractContextManager[None]:
        """Measure it for the length of a ``with`` block: no VM is there before and after."""

    def request(self) -> None:
        """Ask for a job, and return at once."""

    def finish(self) -> None:
        """Return when all jobs have ended that were asked for."""

    def kill(self) -> None:
        """Kill what was started to run jobs (SIGKILL)."""

    def restart(self) -> bool:
        """Start it again and let it finish; return whether it is something that runs on."""


class MasterSession:
    """A Buildbot master.

    :param turn: what there has to be before and after its turn.
    :param label: of its jobs.
    """

    def __init__(
        self,
        bench: Bench,
        master: BuildMaster,
        places: Places,
        *,
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
        label: str = LABEL,
    ) -> None:
        self.places = places
        self.master: BuildMaster | None = master
        self._running = master
        self._bench = bench
        self._turn = turn
        self._label = label
        self._jobs: list[int] = []

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Measure it for the length of a ``with`` block."""
        with self._turn():
            yield
        self._bench.wait_for_rest()

    def request(self) -> None:
        """Ask for a job, and return at once."""
        self._jobs.append(self._running.force(label=self._label))

    def finish(self) -> None:
        """Return when all jobs have ended that were asked for."""
        for job in self._jobs:
            result = self._running.wait_for_result(job)
            assert result == "SUCCESS", f"job {job}: {result}"
        self._jobs.clear()

    def kill(self) -> None:
        """Kill the master."""
        self._running.kill()

    def restart(self) -> bool:
        """Start the master again, and let it finish."""
        self._running.start()
        give_up_at = time.monotonic() + AFTER_A_RESTART
        while time.monotonic() < give_up_at and not self._is_done():
            with suppress(TimeoutError):
                self._bench.gate.arrival(1).release()
        with suppress(AssertionError):  # a VM that is left is what is to be counted
            self._bench.wait_for_rest(max(1.0, give_up_at - time.monotonic()))
        return True

    def _is_done(self) -> bool:
        with suppress(OSError):  # it is busy with its start
            complete = self._running.get("buildrequests?complete=true")
            return {row["buildrequestid"] for row in complete} >= set(self._jobs)
        return False


class Ours:
    """Our pool, whose workers reach the master over TCP, or over a channel.

    :param start: ``boot`` or ``resume``.
    :param labels: how many labels it has: the second one is for workers over a channel.
    """

    def __init__(self, bench: Bench, name: str, start: str, *, labels: int = 1) -> None:
        self._bench = bench
        self._directory = bench.directory / name
        self._labels = labels
        self._settings = PoolSettings(
            start=start,
            max_vms=bench.vms,
            slots=bench.vms,
            label_max_vms=bench.vms,
            other_labels=OVER_A_CHANNEL if labels > 1 else "",
        )

    @contextmanager
    def sessions(self) -> Iterator[tuple[MasterSession, ...]]:
        """Give one without spares, one with as many as there may be VMs, one over a channel."""
        bench, spares = self._bench, self._with_spares
        configuration = master_cfg(
            FACTORY.format(job=bench.gate.job()), workers=WORKERS.format(vms=bench.vms)
        )
        pool = OurPool(
            bench.lab,
            self._directory,
            self._settings,
            configuration=configuration,
            states=self._labels,
        )
        with pool.ready():
            master = pool.master
            yield (
                MasterSession(bench, master, bench.volumes),
                MasterSession(bench, master, bench.volumes, turn=lambda: spares(pool)),
                MasterSession(bench, master, bench.volumes, label=CHANNEL),
            )

    @contextmanager
    def _with_spares(self, pool: OurPool) -> Iterator[None]:
        spares = replace(self._settings, label_keys=f"spares: {self._bench.vms}")
        write_pool(self._directory, self._bench.lab.uri, spares)
        pool.wait_for_spare()
        yield
        write_pool(self._directory, self._bench.lab.uri, self._settings)


@contextmanager
def libvirt_worker(bench: Bench, base: Path) -> Iterator[MasterSession]:
    """Give Buildbot's LibVirtWorker, with a VM for each build.

    :param base: its base image.
    """
    directory = bench.directory / "libvirt-worker"
    upstream = Upstream(bench.lab, base, count=bench.vms, arguments="build_wait_timeout=0")
    with upstream.running(directory, FACTORY.format(job=bench.gate.job())) as master:
        yield MasterSession(bench, master, lambda: directory.glob("minion*"))


class ProgramSession:
    """A rival that is a program for each VM, which a thread runs.

    :param run: runs one job to its end.
    :param kill: kills the programs that run.
    """

    master: BuildMaster | None = None

    def __init__(
        self, bench: Bench, places: Places, *, run: Callable[[], None], kill: Callable[[], None]
    ) -> None:
        self.places = places
        self._bench = bench
        self._run = run
        self._kill = kill
        self._killed = False
        self._threads = ThreadPoolExecutor(bench.vms)
        self._jobs: list[Future[None]] = []

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Measure it for the length of a ``with`` block."""
        yield
        self._bench.wait_for_rest()

    def request(self) -> None:
        """Ask for a job, and return at once."""
        self._jobs.append(self._threads.submit(self._run_job))

    def _run_job(self) -> None:
        try:
            self._run()
        except Exception as error:
            if not self._killed:
                self._bench.gate.fail(error)
            raise

    def finish(self) -> None:
        """Return when all jobs have ended that were asked for."""
        for job in self._jobs:
            job.result()
        self._jobs.clear()

    def kill(self) -> None:
        """Kill the programs that run."""
        self._killed = True
        begun = [job for job in self._jobs if not job.cancel()]
        self._kill()
        for job in begun:
            job.exception()  # the program has ended too early: that is the purpose
        self._jobs.clear()

    def restart(self) -> bool:
        """Do nothing: nothing is there that would sweep."""
        return False


class Bare:
    """The bare script: a process for each VM, which are ready before the first job."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._processes: list[subprocess.Popen[str]] = []
        self._idle: queue.Queue[subprocess.Popen[str]] = queue.Queue()

    @contextmanager
    def session(self) -> Iterator[ProgramSession]:
        """Give it; the processes end with the block."""
        try:
            for number in range(self._bench.vms):
                self._start(FIRST_BARE_SLOT + number)
            session = ProgramSession(
                self._bench, self._bench.volumes, run=self._run, kill=self._kill
            )
            yield session
        finally:
            self._kill()

    def _start(self, slot: int) -> None:
        script = str(Path(__file__).with_name("bare_job.py"))
        command = [*children.WITH_US, sys.executable, script, self._bench.lab.uri, str(slot)]
        process = children.begun(
            lambda: subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ),
            keep=self._processes.append,
        )
        _expect(process, "ready")
        self._idle.put(process)

    def _run(self) -> None:
        process = self._idle.get()
        _say(process)
        _expect(process, "output")
        self._bench.gate.announce(lambda: _say(process))
        _expect(process, "gone")
        self._idle.put(process)

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def _say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it was killed
        process.stdin.write("\n")
        process.stdin.flush()


def _expect(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    if (line := process.stdout.readline().strip()) != word:
        raise RuntimeError(f"the bare script wrote {line!r} instead of {word!r}")
