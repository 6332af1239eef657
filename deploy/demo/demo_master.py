# SPDX-License-Identifier: GPL-2.0-only
"""A Buildbot master as a child process, and what the demo asks of it over its REST API."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from demo_end import WITH_US
from web_session import WebSession, make_password

START_DEADLINE: Final = 60.0  # seconds until the web server answers
STOP_DEADLINE: Final = 90.0  # seconds; the pool takes its VMs down in that time
BUILD_DEADLINE: Final = 1800.0  # seconds from the click to the result
ATTEMPTS: Final = 3  # to read an answer
POLL_INTERVAL: Final = 0.5  # seconds

USER: Final = "demo"  # of the web UI; see master.cfg
PASSWORD_FILE: Final = "web.password"  # noqa: S105 - a name

SUCCESS: Final = 0  # buildbot.process.results.SUCCESS

HERE: Final = Path(__file__).resolve().parent
BUILDBOT: Final = str(Path(sys.executable).with_name("buildbot"))
LATENT_LIBVIRT: Final = str(Path(sys.executable).with_name("latent-libvirt"))


class DemoError(Exception):
    """The demo cannot go on, or did not show what it is there to show."""


@dataclass(frozen=True)
class Build:
    """One build as the REST API tells of it.

    :param url: its page in the web UI.
    :param result: its result (0 is success), None while it runs.
    :param doing: what it does right now, in words.
    """

    number: int
    id: int
    url: str
    result: int | None
    doing: str


class Master:
    """Starts a master in *directory* with the demo's master.cfg; stops it when the context ends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.web_port, worker_port = free_ports(2)
        self._environment = os.environ | {
            "DEMO_WEB_PORT": str(self.web_port),
            "DEMO_WORKER_PORT": str(worker_port),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.password = make_password(directory / PASSWORD_FILE)
        self._session = WebSession(self.url, USER, self.password)

    @property
    def url(self) -> str:
        """The address of the web UI."""
        return f"http://127.0.0.1:{self.web_port}/"

    @property
    def log(self) -> Path:
        """The master's own log."""
        return self.directory / "twistd.log"

    @property
    def _output(self) -> Path:
        """What it says before it has a log."""
        return self.directory / "output"

    def __enter__(self) -> Self:
        self._create()
        shutil.copy(HERE / "master.cfg", self.directory)  # so that an edit changes no clone
        self._process = self._start()
        try:
            self._await_web_server()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the master, which takes its VMs down first; kill it if it does not end in time."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def build(self, builder: str) -> Iterator[Build]:
        """Force a build and yield what becomes of it, several times a second, until it is over.

        :raises DemoError: it was not over in time, or the master is gone.
        """
        deadline = time.monotonic() + BUILD_DEADLINE
        request = self._force(builder)
        while time.monotonic() < deadline:
            # Asked first: a build that ends in between must not be seen as it was before.
            is_over = self._get(f"buildrequests/{request}")["buildrequests"][0]["complete"]
            latest = self._latest_build(request)
            if latest is not None:
                yield latest
            if is_over:
                return
            time.sleep(POLL_INTERVAL)
        raise DemoError(f"the build of {builder} was not over after {BUILD_DEADLINE:.0f} s")

    def build_property(self, build: Build, name: str) -> str | None:
        """Give the value of a property that a build has set."""
        properties = self._get(f"builds/{build.id}/properties")["properties"][0]
        return str(properties[name][0]) if name in properties else None

    def runs_emulated(self) -> bool:
        """Tell whether the pool has found that KVM does not work here; see host/accelerator.py."""
        return "NO WORKING KVM" in self.log.read_text()

    def phases(self, build: Build) -> dict[str, float]:
        """Give the phases, in seconds, of the life of the VM that served a build.

        :raises DemoError: it was not taken down in time.
        """
        vm_id = self.build_property(build, "vm_id")
        deadline = time.monotonic() + STOP_DEADLINE
        while (found := self._phases().get(vm_id)) is None:
            if time.monotonic() > deadline:
                raise DemoError(f"VM {vm_id} of {build.url} was not taken down")
            time.sleep(POLL_INTERVAL)
        return found

    def _phases(self) -> dict[str | None, dict[str, float]]:
        """Give the phases of each VM that has ended well, by its id."""
        report = self.directory / "leases.jsonl"
        lines = report.read_text().splitlines() if report.exists() else []
        leases = [json.loads(line) for line in lines]
        return {lease["vm_id"]: lease["phases"] for lease in leases if not lease["failure"]}

    def failures(self, build: Build) -> Iterator[str]:
        """Give, for each step that failed, its name and the end of its logs."""
        for step in self._get(f"builds/{build.id}/steps")["steps"]:
            if step["results"] in (None, SUCCESS):
                continue
            yield f"{step['name']}: {step['state_string']}"
            for log in self._get(f"steps/{step['stepid']}/logs")["logs"]:
                content = self._get(f"logs/{log['logid']}/contents")["logchunks"][0]["content"]
                lines = content.splitlines()
                yield "\n".join((_said(lines) if log["type"] == "s" else lines)[-25:])

    def _force(self, builder: str) -> int:
        call = {"jsonrpc": "2.0", "id": 1, "method": "force", "params": {"reason": "demo"}}
        answer = self._get(f"forceschedulers/force-{builder}", data=json.dumps(call).encode())
        (request,) = answer["result"][1].values()
        return int(request)

    def _latest_build(self, request: int) -> Build | None:
        """Give the last build of a request; a VM that failed makes Buildbot begin another."""
        builds = self._get(f"builds?buildrequestid={request}&order=-buildid&limit=1")["builds"]
        if not builds:
            return None
        (build,) = builds
        steps = self._get(f"builds/{build['buildid']}/steps?order=-number&limit=1")["steps"]
        return Build(
            number=build["number"],
            id=build["buildid"],
            url=f"{self.url}#/builders/{build['builderid']}/builds/{build['number']}",
            result=build["results"],
            doing=steps[0]["name"] if steps else build["state_string"],
        )

    def _get(self, path: str, *, data: bytes | None = None) -> Any:
        self._check_alive()
        request = urllib.request.Request(  # noqa: S310 (the scheme is in url)
            f"{self.url}api/v2/{path}", data=data, headers={"Content-Type": "application/json"}
        )
        return json.loads(self._read(request, attempts=ATTEMPTS if data is None else 1))

    def _read(self, request: urllib.request.Request, *, attempts: int) -> bytes:
        """Return the answer; ask again if it breaks off, as it does on a busy machine."""
        try:
            with self._session.open(request) as answer:
                return bytes(answer.read())
        except http.client.IncompleteRead:
            if attempts == 1:
                raise
        return self._read(request, attempts=attempts - 1)

    def _await_web_server(self) -> None:
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline:
            try:
                self._get("masters")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(POLL_INTERVAL)
            else:
                return
        raise DemoError(f"the master did not answer within {START_DEADLINE:.0f} s\n{self._tail()}")

    def _check_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise DemoError(f"the master has ended\n{self._tail()}")

    def _tail(self) -> str:
        logs = (log for log in (self.log, self._output) if log.exists())
        return "\n".join(line for log in logs for line in log.read_text().splitlines()[-25:])

    def _create(self) -> None:
        done = subprocess.run(
            [BUILDBOT, "create-master", "--quiet", str(self.directory)],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise DemoError(f"buildbot create-master failed\n{done.stdout}")

    def _start(self) -> subprocess.Popen[bytes]:
        # It must not outlive this process, whatever ends it: its libvirtd and its VMs do not,
        # either. It must not see the user's Ctrl-C, which is for this process to handle.
        with self._output.open("wb") as output:
            process = subprocess.Popen(
                [*WITH_US, BUILDBOT, "start", "--nodaemon", str(self.directory)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # A master in the foreground writes none, and `buildbot reconfig` needs it.
        (self.directory / "twistd.pid").write_text(str(process.pid))
        return process


def _said(lines: list[str]) -> list[str]:
    """Give what a command printed: a stdio log has a letter per line that tells the stream."""
    return [line[1:] for line in lines if line[:1] in ("o", "e")]


def free_ports(count: int) -> list[int]:
    """Give ports of the loopback interface that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
