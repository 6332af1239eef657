# SPDX-License-Identifier: GPL-2.0-only
"""A master whose worker port is attacked without a password, and whose logs are filled. No VM."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import memory
from buildmaster import BuildMaster, running, wait_for
from pools import PoolSettings, master_cfg, write_pool

CONNECTIONS = 1_100
USUAL_LIMIT = 1_024
"""Open files that a shell, and systemd, give to a process."""

FACTORY = """
from buildbot.plugins import worker
factory = util.BuildFactory([steps.MasterShellCommand("true")])
"""
WORKERS = """
from buildbot.plugins import worker
workers = [worker.LocalWorker("local"), *pool.workers()]
"""
ONLY_LOCAL = """
BuildmasterConfig["builders"][0].workernames = ["local"]
"""
PRINTED = 8_000_000
MOST_LOGGED = 1_000_000
PRINTING = f"""
# What cannot be compressed, in lines.
command = "head -c {PRINTED * 3 // 4} /dev/urandom | base64"
printing = util.BuildFactory([steps.ShellCommand(name="print", command=command)])
BuildmasterConfig["builders"].append(
    util.BuilderConfig(name="printing", workernames=["local"], factory=printing)
)
BuildmasterConfig["schedulers"] = [
    schedulers.ForceScheduler(name="force", builderNames=["check", "printing"])
]
BuildmasterConfig["logMaxSize"] = {MOST_LOGGED}
"""
UNFINISHED_LIST = b"\x7f\x7f\x26\x80" + b"\x80" * 600_000
"""A list of 622,591 items, as Twisted's banana encodes it, that lacks the last of them."""


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildMaster]:
    """Give a master that may open no more files than usual; its pool's host does not answer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    tmp_path = tmp_path_factory.mktemp("attacked")
    directory = tmp_path / "master"
    directory.mkdir()
    nowhere = f"qemu:///session?socket={tmp_path}/nobody"
    write_pool(directory, nowhere, PoolSettings())
    configuration = master_cfg(FACTORY, workers=WORKERS) + ONLY_LOCAL + PRINTING
    BuildMaster.enter = ("prlimit", f"--nofile={USUAL_LIMIT}:{USUAL_LIMIT}")
    try:
        with running(directory, configuration) as master:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * CONNECTIONS), hard))
            wait_for("the port for workers, after that of the web", lambda: is_open(master))
            yield master
    finally:
        BuildMaster.enter = ()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_that_say_nothing_and_lists_without_end_harm_neither_web_nor_jobs(
    master: BuildMaster,
) -> None:
    before = memory.peak(master.pid)
    idle = [connect(master) for _ in range(CONNECTIONS)]
    try:
        for one in idle[-20:]:
            say(one, UNFINISHED_LIST)
        wait_for("most to be closed", lambda: descriptors(master) < USUAL_LIMIT // 2)

        assert master.get("builders")
        assert master.wait_for_result(master.force()) == "SUCCESS"
        assert memory.peak(master.pid) - before < memory.BOUND
    finally:
        for one in idle:
            one.close()
    assert "connections were closed" in master.log
    assert "unable to open database file" not in master.log


def test_a_step_that_prints_much_fills_its_log_and_neither_database_nor_memory(
    master: BuildMaster,
) -> None:
    database = master.directory / "state.sqlite"
    before = memory.peak(master.pid), database.stat().st_size

    request = master.force("printing")
    assert master.wait_for_result(request) == "SUCCESS"

    (build,) = master.builds(request)
    text = master.logs(build)
    assert MOST_LOGGED * 0.9 < len(text) < MOST_LOGGED * 1.1
    assert "(this log has 1,000,000 bytes, logMaxSize: the rest is left out)" in text
    assert database.stat().st_size - before[1] < 2 * MOST_LOGGED
    assert memory.peak(master.pid) - before[0] < memory.BOUND


def connect(master: BuildMaster) -> socket.socket:
    return socket.create_connection(("127.0.0.1", master.worker_port), timeout=60)


def is_open(master: BuildMaster) -> bool:
    try:
        connect(master).close()
    except ConnectionRefusedError:
        return False
    return True


def say(connection: socket.socket, what: bytes) -> None:
    try:
        connection.sendall(what)
    except OSError:
        """It is closed, as it should be."""


def descriptors(master: BuildMaster) -> int:
    return len([*Path(f"/proc/{master.pid}/fd").iterdir()])
