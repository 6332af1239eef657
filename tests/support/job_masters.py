# SPDX-License-Identifier: GPL-2.0-only
"""Masters that serve jobs, whose builds run in local workers; and a client of the plainest kind."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import buildmaster
from buildmaster import BuildMaster, wait_for
from latent_libvirt.jobs import tokens

_SETTINGS = """
TITLE = {title!r}
DATABASE = {database!r}
JOB_API = dict({job_api})
"""

_MASTER_CFG = """
import os
from buildbot.plugins import schedulers, steps, util, worker

WORKERS = [f"{TITLE}-{n}" for n in range(3)]

def builder(name, *its_steps, **arguments):
    factory = util.BuildFactory(its_steps)
    return util.BuilderConfig(name=name, workernames=WORKERS, factory=factory, **arguments)

say = steps.ShellCommand(
    name="say",
    command=["echo", util.Interpolate("job %(prop:job_uuid)s says %(prop:word:-nothing)s")],
)
# Until there is a file "go" in the master's directory, or that is gone.
loop = "while [ -e master.cfg -a ! -e go ]; do sleep 0.1; done"
loop = f"cd {os.getcwd()}; echo begun; {loop}; echo told"
wait = steps.ShellCommand(name="wait", command=["sh", "-c", loop])
trigger = steps.Trigger(name="trigger", schedulerNames=["children"], waitForFinish=True)
c = BuildmasterConfig = dict(
    title=TITLE,
    services=[util.JobApi(**JOB_API), util.JobLinks()],
    workers=[worker.LocalWorker(name, max_builds=1) for name in WORKERS],
    builders=[
        builder("check", say, properties=dict(suite="bookworm")),
        builder("fail", steps.ShellCommand(name="fail", command=["false"])),
        builder("slow", wait),
        builder("parent", trigger),
        builder("child", wait, say, collapseRequests=False),
    ],
    schedulers=[schedulers.Triggerable(name="children", builderNames=["child"])],
    www=dict(port=f"tcp:{WEB_PORT}:interface=127.0.0.1", plugins=dict(jobs={})),
    buildbotURL=f"http://127.0.0.1:{WEB_PORT}/",
    db=dict(db_url=DATABASE),
    buildbotNetUsageData=None,
    protocols=dict(pb=dict(port=f"tcp:{WORKER_PORT}:interface=127.0.0.1")),
    multiMaster=True,
)
"""


SERVES_JOBS = """
c = BuildmasterConfig
c["services"].append(util.JobApi(tokens="tokens.json", labels={"debian-*": "check"}))
c["www"]["plugins"]["jobs"] = {}
"""
"""What to add to a configuration, as that of a master with a pool."""


class JobMaster(BuildMaster):
    """A master that serves jobs.

    :param job_api: further arguments of ``JobApi``, as Python.
    :param more: statements at the end of its configuration, where that is ``c``.
    """

    def __init__(
        self,
        directory: Path,
        *,
        database: str = "sqlite:///state.sqlite",
        job_api: str = "",
        more: str = "",
    ) -> None:
        settings = _SETTINGS.format(
            title=directory.name, database=database, job_api=f"tokens='tokens.json', {job_api}"
        )
        super().__init__(directory, settings + _MASTER_CFG + more)
        if not database.startswith("sqlite:"):
            buildmaster.buildbot("upgrade-master", "--quiet", str(directory))
        self.token = self.make_token("tests")

    def make_token(
        self, name: str, builders: str = "*", *, expires: float | None = None, **scope: Any
    ) -> str:
        """Make a token; return the secret."""
        return tokens.create(
            self.directory / "tokens.json",
            name=name,
            builders=[builders],
            now=time.time(),
            expires=expires,
            scope=tokens.Scope(**scope),
        )

    def copy_tokens(self, other: JobMaster) -> None:
        """Know the same tokens as another master."""
        path = self.directory / "tokens.json"
        path.write_bytes((other.directory / "tokens.json").read_bytes())

    def serves(self) -> bool:
        """Whether it serves jobs yet."""
        return super().serves() and ask("GET", self.jobs_url).status != 503

    def revoke_token(self, name: str) -> None:
        """Revoke a token."""
        tokens.revoke(self.directory / "tokens.json", name)

    @property
    def jobs_url(self) -> str:
        """Where its jobs are."""
        return f"http://127.0.0.1:{self.web_port}/jobs"

    def post(self, *, token: str | None = None, **body: Any) -> Reply:
        """Start a job."""
        return ask("POST", self.jobs_url, token=token or self.token, body=body)

    def delete(self, uuid: str, *, token: str | None = None) -> Reply:
        """Cancel a job."""
        return ask("DELETE", f"{self.jobs_url}/{uuid}", token=token or self.token)

    def job(self, uuid: str) -> dict[str, Any]:
        """Return a job's document."""
        reply = ask("GET", f"{self.jobs_url}/{uuid}")
        assert reply.status == 200, reply
        return dict(reply.document)

    def wait_for_state(self, uuid: str, state: str) -> dict[str, Any]:
        """Return the job's document once it is in this state."""
        found = wait_for(
            f"job {uuid} to be {state}",
            lambda: job if (job := self.job(uuid))["state"] == state else None,
        )
        assert isinstance(found, dict)
        return found

    def finished(self, uuid: str) -> dict[str, Any]:
        """Return the job's document once it has ended."""
        return self.wait_for_state(uuid, "finished")

    def let_go(self) -> None:
        """Let the builds of ``slow`` and ``child`` go on."""
        (self.directory / "go").touch()

    def hold_back(self) -> None:
        """Let those that start from now on wait."""
        (self.directory / "go").unlink(missing_ok=True)

    def wait_for_child(self, uuid: str) -> int:
        """Return the build that a job has triggered, once its first step runs."""

        def started() -> int | None:
            for attempt in self.job(uuid)["attempts"]:
                for build in self.get(f"builds/{attempt['build']}/triggered_builds"):
                    if len(self.get(f"builds/{build['buildid']}/steps")) > 1:
                        return int(build["buildid"])
            return None

        return int(wait_for("a triggered build", started))

    def rebuild(self, build: int) -> int:
        """Rebuild it as a user does in the UI; return the new build when that has begun."""
        return int(self.wait_for_build(self.start_rebuild(build))["buildid"])

    def start_rebuild(self, build: int) -> int:
        """Rebuild it; return the new build request."""
        _buildset, requests = self._post(f"builds/{build}", "rebuild")
        (request,) = requests.values()
        return int(request)

    def wait_for_properties(self, build: int, wanted: dict[str, Any]) -> None:
        """Return when a build has these properties, at least."""
        wait_for(
            f"build {build} to have {wanted}",
            lambda: wanted.items() <= self.build_properties(build).items(),
        )

    def wait_until_told(self, uuid: str) -> dict[str, Any]:
        """Return the job's document once its result has been told."""
        wait_for("its result to be told", lambda: self.job(uuid)["callback"]["state"] == "done")
        return self.job(uuid)

    def build_properties(self, build: int) -> dict[str, Any]:
        """Return the properties of a build."""
        (found,) = self.get(f"builds/{build}?property=*")
        return {name: value for name, (value, _source) in found["properties"].items()}


class JobClient:
    """A client of the job API of a master that serves jobs among other things.

    :param builders: what its token is for.
    """

    def __init__(self, master: BuildMaster, builders: str = "check") -> None:
        self._url = f"http://127.0.0.1:{master.web_port}/jobs"
        self._token = tokens.create(
            master.directory / "tokens.json",
            name=f"ci-{time.monotonic_ns()}",
            builders=[builders],
            now=time.time(),
            expires=None,
        )
        wait_for("the job API", lambda: ask("GET", self._url).status != 503)

    def post(self, **body: Any) -> Reply:
        """Start a job."""
        return ask("POST", self._url, token=self._token, body=body)

    def delete(self, uuid: str) -> Reply:
        """Cancel a job."""
        return ask("DELETE", f"{self._url}/{uuid}", token=self._token)

    def job(self, uuid: str) -> dict[str, Any]:
        """Return a job's document."""
        return dict(ask("GET", f"{self._url}/{uuid}").document)

    def result(self, uuid: str) -> str:
        """Return a job's result once it has ended."""
        return str(wait_for(f"job {uuid} to end", lambda: self.job(uuid)["result"]))


NO_TEXTS: list[tuple[str, str, dict[str, str]]] = [
    ("GET", "?builder=%00", {}),
    ("GET", "?token=a%00b", {}),
    ("GET", "?cursor=%00", {}),
    ("GET", "?since=%00", {}),
    ("GET", "?%00=1", {}),
    ("GET", "?builder=%ff", {}),
    ("GET", "?builder=%ED%A0%80", {}),
    ("GET", "?limit=" + "9" * 5000, {}),
    ("GET", "?cursor=9999999999", {}),
    ("GET", "?since=1e400", {}),
    ("GET", "?" + "a=1&" * 60, {}),
    ("GET", "/%ff", {}),
    ("GET", "/%00", {}),
    ("GET", "/%ff/log", {}),
    ("DELETE", "/%c3", {}),
    ("POST", "", {"Authorization": "Bearer \xff\xfe"}),
    ("DELETE", "/x", {"Authorization": "\xe9"}),
    ("POST", "", {"Content-Type": "application/json\xff"}),
]
"""Requests with what no database or codec takes: method, what follows ``/jobs``, headers.

Each is refused with 400, and without a token as well, unless that is missed first (a POST).
"""


@dataclass(frozen=True)
class Reply:
    """What a server has answered."""

    status: int
    head: Message
    body: bytes

    @property
    def document(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """Its media type."""
        return self.head.get_content_type()


def post_head(token: str, *lines: str) -> bytes:
    """Return the head of a POST, for those who send its body as a client library would not."""
    common = ("POST /jobs HTTP/1.1", "Host: x", f"Authorization: Bearer {token}")
    return "\r\n".join([*common, "Content-Type: application/json", *lines, "", ""]).encode()


def ask(
    method: str,
    url: str,
    *,
    token: str | None = None,
    body: Any = None,
    headers: dict[str, str] | None = None,
    context: Any = None,
) -> Reply:
    """Ask a server; follow nothing, and take whatever it answers.

    :param body: bytes are sent as they are, everything else as JSON.
    """
    parts = urlsplit(url)
    head: dict[str, str] = {}
    if token is not None:
        head["Authorization"] = f"Bearer {token}"
    if body is not None:
        head["Content-Type"] = "application/json"
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.netloc, timeout=60, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, data, head | (headers or {}))
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())
    finally:
        connection.close()
