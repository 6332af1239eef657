# SPDX-License-Identifier: GPL-2.0-only
"""Cost, for a master, of attacks by guests without a password, by clients, and by printing steps.

A real master has a pool, the job API and the usual 1,024 open files. For each attack, the report
has the longest pause of its reactor, its open files, and what its memory and its database grew by.
A loop in the master notes each turn that begins late. The worker that prints is a process outside
the master, as in a guest.

    make bench-attacks
"""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

import memory
from buildmaster import BuildMaster, running, wait_for
from job_masters import ask
from latent_libvirt.jobs import tokens
from pools import PoolSettings, master_cfg, write_pool

FILES: Final = 1_024
UNFINISHED_LIST: Final = b"\x7f\x7f\x26\x80" + b"\x80" * 600_000
"""A list of 622,591 items, as Twisted's banana encodes it, that lacks the last of them."""
NESTED: Final = b'{"builder": "check", "properties": {"a": [' + b"{}," * 340_000 + b"{}]}}"
"""A body of 1 MB."""

CONFIGURATION: Final = """
from buildbot.plugins import worker
factory = util.BuildFactory([steps.MasterShellCommand("true")])
workers = [worker.LocalWorker("local"), worker.Worker("remote", "password"), *pool.workers()]
services.append(util.JobApi(tokens="tokens.json"))
"""
MORE: Final = """
import time
from twisted.internet import reactor
from twisted.internet.task import LoopingCall

# What cannot be compressed, in lines.
command = "head -c PRINTED /dev/urandom | base64"
printing = util.BuildFactory([steps.ShellCommand(name="print", command=command)])
BuildmasterConfig["builders"][0].workernames = ["local"]
BuildmasterConfig["builders"].append(
    util.BuilderConfig(name="printing", workernames=["remote"], factory=printing)
)
BuildmasterConfig["schedulers"] = [
    schedulers.ForceScheduler(name="force", builderNames=["check", "printing"])
]
BuildmasterConfig["www"]["plugins"]["jobs"] = {}
EVERY = 0.01
before = [time.monotonic()]

def note():
    now = time.monotonic()
    late, before[0] = now - before[0] - EVERY, now
    if late > EVERY:
        with open("late", "a") as file:
            print(late, file=file)

# Buildbot reads this file in another thread.
reactor.callFromThread(LoopingCall(note).start, EVERY)
"""


@dataclass(frozen=True)
class Cost:
    """What an attack has cost.

    :param pause: seconds; the longest in which the reactor did nothing else.
    :param files: that were open at once, at most.
    :param memory: MiB that the largest size grew by.
    :param database: MiB that it grew by.
    """

    attack: str
    pause: float
    files: int
    memory: float
    database: float


@click.command(help=__doc__)
@click.option("--posts", default=20, show_default=True, help="Of 1 MB each.")
@click.option("--connections", default=1_100, show_default=True, help="That say nothing.")
@click.option("--lists", default=30, show_default=True, help="That lack an item.")
@click.option("--mb", default=80, show_default=True, help="That a step prints.")
def main(posts: int, connections: int, lists: int, mb: int) -> None:
    """Attack a master in each way; print what that has cost."""
    with _master(mb) as master:
        attacks: dict[str, Callable[[], None]] = {
            "none": lambda: time.sleep(5),
            f"{posts} POSTs of 1 MB in 340,000 objects": lambda: _post(master, posts),
            "an unfinished list of 600 KB before the login": lambda: _connect(master, 1, 1),
            f"{lists} such lists": lambda: _connect(master, lists, lists),
            f"{connections} idle connections": lambda: _connect(master, connections, 0),
            f"a step that prints {mb} MB": lambda: _print_much(master),
        }
        costs = [_cost(master, name, attack) for name, attack in attacks.items()]
    for cost in costs:
        print(
            f"{cost.attack:48} pause {cost.pause:6.3f} s, {cost.files:4} files, "
            f"memory +{cost.memory:.0f} MiB, database +{cost.database:.0f} MiB"
        )
    print(json.dumps({"attacks": [asdict(cost) for cost in costs]}))


@contextmanager
def _master(mb: int) -> Iterator[BuildMaster]:
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) / "master"
        directory.mkdir()
        write_pool(directory, f"qemu:///session?socket={temporary}/nobody", PoolSettings())
        more = MORE.replace("PRINTED", str(mb * 750_000))
        BuildMaster.enter = ("prlimit", f"--nofile={FILES}:{FILES}")
        with running(directory, master_cfg(CONFIGURATION) + more) as master:
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            wait_for("a build, and with it all that listens", lambda: _builds(master, "check"))
            with _worker(master, Path(temporary) / "worker"):
                yield master


@contextmanager
def _worker(master: BuildMaster, directory: Path) -> Iterator[None]:
    """Run a worker that comes through the master's port, for the length of a ``with`` block."""
    program = str(Path(sys.executable).with_name("buildbot-worker"))
    where = (str(directory), f"127.0.0.1:{master.worker_port}", "remote", "password")
    subprocess.run([program, "create-worker", "--quiet", *where], check=True)
    start = [program, "start", "--nodaemon", str(directory)]
    with subprocess.Popen(start, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def _builds(master: BuildMaster, builder: str) -> bool:
    return master.wait_for_result(master.force(builder)) == "SUCCESS"


def _cost(master: BuildMaster, name: str, attack: Callable[[], None]) -> Cost:
    late, database = master.directory / "late", master.directory / "state.sqlite"
    Path(f"/proc/{master.pid}/clear_refs").write_text("5")  # the largest size is that of now
    before = memory.peak(master.pid), database.stat().st_size
    late.write_text("0\n")
    with _watching(master) as files:
        attack()
        _builds(master, "check")
    return Cost(
        name,
        round(max(map(float, late.read_text().split())), 3),
        max(files),
        (memory.peak(master.pid) - before[0]) / 2**20,
        (database.stat().st_size - before[1]) / 2**20,
    )


@contextmanager
def _watching(master: BuildMaster) -> Iterator[list[int]]:
    """Count the open files of a master all the time."""
    counts: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            counts.append(len([*Path(f"/proc/{master.pid}/fd").iterdir()]))
            over.wait(0.05)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()


def _post(master: BuildMaster, count: int) -> None:
    token = tokens.create(
        master.directory / "tokens.json", name="a", builders=["*"], now=time.time(), expires=None
    )
    for _ in range(count):
        reply = ask("POST", f"http://127.0.0.1:{master.web_port}/jobs", token=token, body=NESTED)
        assert reply.status in {422, 429}, reply


def _connect(master: BuildMaster, count: int, lists: int) -> None:
    with ExitStack() as open_:
        for number in range(count):
            one = socket.create_connection(("127.0.0.1", master.worker_port), timeout=60)
            open_.enter_context(one)
            if number < lists:
                _say(one, UNFINISHED_LIST)
        assert _builds(master, "check")


def _say(connection: socket.socket, what: bytes) -> None:
    with suppress(OSError):  # it is closed, as it should be
        connection.sendall(what)


def _print_much(master: BuildMaster) -> None:
    assert master.wait_for_result(master.force("printing"), deadline=1800) == "SUCCESS"


if __name__ == "__main__":
    main()
