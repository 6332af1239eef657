# SPDX-License-Identifier: GPL-2.0-only
"""A real Buildbot master in a process of its own, for tests to configure, ask, and kill."""

from __future__ import annotations

import atexit
import functools
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import children

DEADLINE = 300.0
"""Seconds that a test waits for anything; machines may be slow."""

BUILDBOT = Path(sys.executable).with_name("buildbot")

_POLL = 0.1

RESULTS = ("SUCCESS", "WARNINGS", "FAILURE", "SKIPPED", "EXCEPTION", "RETRY", "CANCELLED")


def wait_for(what: str, condition: Callable[[], Any], *, deadline: float = DEADLINE) -> Any:
    """Return the first true value of *condition*; fail the test when there is none in time."""
    give_up_at = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > give_up_at:
            raise AssertionError(f"waited {deadline:g} s in vain for {what}")
        time.sleep(_POLL)
    return value


def free_port() -> int:
    """Return a TCP port that nobody uses, and nobody else is given.

    Each worker of the tests has a range, below those that the kernel gives to connections.
    """
    while True:
        port = next(_ports)
        with socket.socket() as listening, suppress(OSError):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", port))
            return port


_PORTS_OF_A_WORKER = 2000


def _range_of_ports() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    first = 12_000 + worker % 10 * _PORTS_OF_A_WORKER
    # Runs side by side begin elsewhere.
    begin = os.getpid() * 37 % _PORTS_OF_A_WORKER
    for number in itertools.count(begin):
        yield first + number % _PORTS_OF_A_WORKER


_ports = _range_of_ports()


def master_cfg(statements: str) -> str:
    """Return a master's configuration with one builder, ``check``.

    :param statements: they bind ``services``, ``workers`` and ``factory``; ``steps`` and ``util``
        are at hand.
    """
    return f"""
from buildbot.plugins import schedulers, steps, util
{statements}
BuildmasterConfig = dict(
    services=services,
    workers=workers,
    builders=[
        util.BuilderConfig(
            name="check",
            workernames=[w.name for w in workers],
            factory=factory,
            collapseRequests=False,
        )
    ],
    schedulers=[
        schedulers.ForceScheduler(
            name="force",
            builderNames=["check"],
            properties=[util.StringParameter(name="label", default="debian-12")],
        )
    ],
    protocols=dict(pb=dict(port=f"tcp:{{WORKER_PORT}}:interface=127.0.0.1")),
    www=dict(port=f"tcp:{{WEB_PORT}}:interface=127.0.0.1", plugins={{}}),
    buildbotURL=f"http://127.0.0.1:{{WEB_PORT}}/",
    db=dict(db_url="sqlite:///state.sqlite"),
    buildbotNetUsageData=None,
)
"""


class BuildMaster:
    """A master whose configuration is *master_cfg* and whose files are in *directory*.

    In the configuration, ``WEB_PORT`` and ``WORKER_PORT`` are defined.
    """

    enter: tuple[str, ...] = ()
    """What to put before its command so that it runs somewhere else, as on a ``machine``."""

    buildbot: Path = BUILDBOT
    """The program that it is run by."""

    def __init__(self, directory: Path, master_cfg: str) -> None:
        self.directory = directory
        self.web_port = free_port()
        self.worker_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._builders: dict[str, int] = {}
        directory.mkdir(parents=True, exist_ok=True)
        self.configure(master_cfg)
        self._create()

    def configure(self, master_cfg: str) -> None:
        """Write the configuration; it counts from the next start or :meth:`reconfig` on."""
        ports = f"WEB_PORT = {self.web_port}\nWORKER_PORT = {self.worker_port}\n"
        (self.directory / "master.cfg").write_text(ports + master_cfg)

    def start(self) -> None:
        """Start the master and return when it serves requests."""
        self.launch()
        wait_for("the master to run", self.serves)

    def launch(self) -> None:
        """Start the master and return at once."""
        run = (self.buildbot, "start", "--nodaemon", self.directory)
        with (self.directory / "stdout").open("ab") as output:
            children.begun(
                lambda: subprocess.Popen(
                    [*self.enter, *children.WITH_US, *run],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self.directory,
                ),
                keep=self._begun,
            )

    def _begun(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def serves(self) -> bool:
        """Whether it serves requests yet."""
        assert self._process is not None
        assert self._process.poll() is None, self.log[-5000:]
        try:
            return bool(self.get("masters"))
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
            return False

    def kill(self) -> None:
        """Kill the master like a power cut: SIGKILL, no cleaning up."""
        self.end_by(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the master as ``buildbot stop`` does."""
        if self._process is not None and self._process.poll() is None:
            self.end_by(signal.SIGTERM)

    def end_by(self, how: signal.Signals) -> None:
        """Send it that signal, and wait for its end."""
        assert self._process is not None
        self._process.send_signal(how)
        self.wait_for_end()

    def wait_for_end(self) -> None:
        """Return when it has ended."""
        assert self._process is not None
        self._process.wait(DEADLINE)

    def reconfig(self) -> None:
        """Load the configuration again; return when that is done."""
        assert self._process is not None
        done = self.log.count("configuration update")
        self._process.send_signal(signal.SIGHUP)
        wait_for(
            "the reconfig", lambda: self.log.count("configuration update complete") > done // 2
        )

    @property
    def pid(self) -> int:
        """The process id of the running master."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the master has logged so far."""
        path = self.directory / "twistd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _create(self) -> None:
        """Do what ``buildbot create-master`` does: copy what it made for another one."""
        shutil.copytree(_template(), self.directory, dirs_exist_ok=True)

    @property
    def ui(self) -> str:
        """Where its web UI is."""
        return f"http://127.0.0.1:{self.web_port}/"

    # The REST API.

    def get(self, path: str) -> list[dict[str, Any]]:
        """Return the resources at ``/api/v2/<path>``."""
        data = json.loads(self._read(path))
        return next(value for key, value in data.items() if key != "meta")

    def raw(self, path: str) -> str:
        """Return the text at ``/api/v2/<path>``."""
        return str(self._read(path), errors="replace")

    def _read(self, path: str, *, attempts: int = 3) -> bytes:
        """Return what is there; ask again if the answer breaks off: a busy machine does that."""
        try:
            with urllib.request.urlopen(self._url(path), timeout=100) as answer:
                return bytes(answer.read())
        except http.client.IncompleteRead:
            if attempts == 1:
                raise
        return self._read(path, attempts=attempts - 1)

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.web_port}/api/v2/{path}"

    def _post(self, path: str, method: str, **params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        request = urllib.request.Request(
            self._url(path),
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=100) as answer:
            return json.load(answer)["result"]

    def force(self, builder: str = "check", **properties: str) -> int:
        """Start a job on *builder*; return the id of its build request."""
        if builder not in self._builders:
            self._builders = {b["name"]: b["builderid"] for b in self.get("builders")}
        _buildset, requests = self._post(
            "forceschedulers/force", "force", builderid=self._builders[builder], **properties
        )
        return int(next(iter(requests.values())))

    def cancel(self, build: dict[str, Any]) -> None:
        """Stop a build as its user does."""
        self._post(f"builds/{build['buildid']}", "stop", reason="the test wants so")

    def control_worker(self, action: str) -> None:
        """Do that with the only worker, as its page in the UI does: pause, unpause, stop, kill."""
        (worker,) = self.get("workers")
        self._post(f"workers/{worker['workerid']}", action, reason="the test wants so")

    def builds(self, request: int) -> list[dict[str, Any]]:
        """Return the builds of a request, oldest first: RETRY adds one."""
        builds = self.get(f"builds?buildrequestid={request}&property=*")
        return sorted(builds, key=lambda build: build["buildid"])

    def wait_for_build(self, request: int, *, number: int = 1) -> dict[str, Any]:
        """Return the *number*-th build of a request once it has begun."""
        builds = wait_for(
            f"build {number} of request {request}",
            lambda: b if len(b := self.builds(request)) >= number else None,
        )
        return dict(builds[number - 1])

    def wait_for_result(self, request: int, *, deadline: float = DEADLINE) -> str:
        """Return the result of a job in words once it is complete."""
        done = wait_for(
            f"request {request} to be complete",
            lambda: next((r for r in self.get(f"buildrequests/{request}") if r["complete"]), None),
            deadline=deadline,
        )
        return RESULTS[done["results"]]

    def results(self, request: int) -> list[str | None]:
        """Return the results of all builds of a request, in words; ``None`` for one that runs."""
        codes = [build["results"] for build in self.builds(request)]
        return [None if code is None else RESULTS[code] for code in codes]

    def logs(self, build: dict[str, Any]) -> str:
        """Return all logs of all steps of a build."""
        texts = []
        for step in self.get(f"builds/{build['buildid']}/steps"):
            for log in self.get(f"steps/{step['stepid']}/logs"):
                texts.append(f"--- {step['name']}/{log['name']}")
                texts.append(self.raw(f"logs/{log['logid']}/raw"))
        return "\n".join(texts)

    def wait_for_logs(self, build: dict[str, Any], text: str) -> None:
        """Return when that is in a log of a build. Some lines are written after its end."""
        try:
            wait_for(f"{text!r} in the build's logs", lambda: text in self.logs(build))
        except AssertionError as error:
            raise AssertionError(f"{error}; they are:\n{self.logs(build)}") from None


def buildbot(*arguments: str) -> None:
    """Run Buildbot's command to its end."""
    subprocess.run(
        [BUILDBOT, *arguments],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )


@functools.cache
def _template() -> Path:
    """Return the directory of a master that was created, and never started."""
    directory = Path(tempfile.mkdtemp(prefix="template-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    buildbot("create-master", "-r", "--log-count=1", str(directory))
    return directory


@contextmanager
def running(directory: Path, master_cfg: str) -> Iterator[BuildMaster]:
    """Run a master for the length of a ``with`` block."""
    master = BuildMaster(directory, master_cfg)
    master.start()
    try:
        yield master
    finally:
        master.stop()
