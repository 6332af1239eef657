# SPDX-License-Identifier: GPL-2.0-only
"""Requests of any bytes, on a real web server, with a real manager and database, no Buildbot."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import Site

from job_records import Tables
from latent_libvirt.jobs import tokens
from latent_libvirt.jobs.manager import JobManager
from latent_libvirt.jobs.settings import Settings
from latent_libvirt.jobs.web.early import (
    EarlyRequest,
    Gate,
)
from latent_libvirt.jobs.web.resource import JobsResource
from latent_libvirt.upstream import lengths

reactor: Any = the_reactor
_Resource: Any = Resource
_Site: Any = Site
MAX_BODY = 5000
NO_HTTP = b"HTTP/1.1 400 Bad Request"
"""Twisted's own answer, all of it, to what is no request."""

MOST = b"&" * 3 * MAX_BODY


class Server:
    """A web server that has jobs and something else."""

    def __init__(self, directory: Path, tables: Tables) -> None:
        token_file = directory / "tokens.json"
        self.token = tokens.create(
            token_file, name="ci", builders=["*"], now=time.time(), expires=None
        ).encode()
        self._connection = tables.connection
        master = SimpleNamespace(
            basedir=str(directory),
            reactor=reactor,
            db=SimpleNamespace(pool=self),
            config=SimpleNamespace(buildbotURL="http://ci.example/", builders=[], workers=[]),
        )
        manager = JobManager(master, Settings(tokens="tokens.json", max_body=MAX_BODY))
        root: Any = _Resource()
        root.putChild(b"jobs", JobsResource(lambda: manager))
        gate = Gate(lambda: manager, is_alone=False)
        self.audit_file = directory / "job-api-audit.log"
        lengths.install()
        site = _Site(root, requestFactory=partial(EarlyRequest, gates=[gate]))
        self._port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.audit_log = manager.audit_log

    async def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self._connection, *arguments)

    def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Send bytes; return status, head and body of the answer. Blocks."""
        where = ("127.0.0.1", self._port.getHost().port)
        with socket.create_connection(where, timeout=60) as connection:
            connection.sendall(request)
            answer = b"".join(iter(lambda: connection.recv(2**16), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), head, body

    def begin(self, head: bytes) -> bytes:
        """Send a head and no body; return the beginning of the answer. Blocks."""
        where = ("127.0.0.1", self._port.getHost().port)
        with socket.create_connection(where, timeout=60) as connection:
            connection.sendall(head)
            return connection.recv(4096)

    async def stop(self) -> None:
        await self._port.stopListening()
        await self.audit_log.stop()


@pytest.fixture
def server(tmp_path: Path, tables: Tables) -> Iterator[Server]:
    server = Server(tmp_path, tables)
    yield server
    pytest_twisted.blockon(Deferred.fromCoroutine(server.stop()))


def no_line_ends(data: bytes) -> bytes:
    return data.translate(None, b"\0\r\n")


words = st.binary(max_size=40).map(no_line_ends)
in_urls = st.binary(max_size=40).map(lambda data: data.translate(None, b"\0\r\n \t#"))
methods = st.sampled_from([b"GET", b"HEAD", b"POST", b"DELETE", b"PUT", b"OPTIONS"])
paths = st.one_of(
    st.just(b"/jobs"),
    st.sampled_from([b"/jobs/%ff", b"/jobs/openapi.json", b"/%6aobs", b"/jobs/x/log"]),
    in_urls.map(lambda part: b"/jobs/" + part),
    in_urls.map(lambda part: b"/jobs?" + part),
    in_urls.map(lambda part: b"/jobs?builder=" + part),
)
names = st.sampled_from([b"Authorization", b"Accept", b"Content-Type", b"X-Forwarded-For", b"X"])
bodies = st.one_of(
    st.just(b""),
    st.binary(max_size=300),
    st.just(MOST),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["builder", "label", "properties", "priority", "uuid"])
                | st.text(max_size=8),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    ).map(lambda value: json.dumps(value).encode()),
)


@pytest_twisted.ensureDeferred
async def test_whatever_is_sent_each_refusal_is_a_problem_document_and_nothing_fails(
    server: Server,
) -> None:
    good = [b"Authorization: Bearer " + server.token, b"Content-Type: application/json"]

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        method=methods,
        path=paths,
        headers=st.lists(st.tuples(names, words), max_size=3),
        body=bodies,
        is_known=st.booleans(),
    )
    def ask(method: bytes, path: bytes, headers: list[Any], body: bytes, *, is_known: bool) -> None:
        lines = [
            method + b" " + path + b" HTTP/1.1",
            b"Host: x",
            b"Connection: close",
            *(good if is_known else []),
            *(name + b": " + value for name, value in headers),
            b"Content-Length: %d" % len(body),
        ]
        status, head, answer = server.ask(b"\r\n".join([*lines, b"", body]))
        assert status < 500, (lines, answer)
        if head == NO_HTTP:
            return
        if status >= 400 and method != b"HEAD":
            assert b"application/problem+json" in head, (lines, answer)
            assert json.loads(answer)["status"] == status

    await deferToThread(ask)


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"", b"", 413),
        (b"Bearer llj_", b"Bearer ", 401),
        (b"Bearer llj_", b"Bearer \xff", 400),
        (b"/jobs", b"/%6aobs", 413),
        (b"HTTP/1.1", b"HTTP/1.0", 413),
        (b"Content-Length: 100000000", b"Content-Length: 10\r\nExpect: 100-continue", None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_head_is_enough_to_be_refused(
    server: Server, old: bytes, new: bytes, status: int | None
) -> None:
    head = (
        b"POST /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + server.token + b"\r\n"
        b"Content-Type: application/json\r\nContent-Length: 100000000\r\n"
    ).replace(old, new) + b"\r\n"

    answer = await deferToThread(server.begin, head)

    assert int(answer.split(b" ", 2)[1]) == (status or 100)
    assert status is None or b"application/problem+json" in answer


@pytest_twisted.ensureDeferred
async def test_who_waits_to_be_told_to_go_on_is_refused_instead(server: Server) -> None:
    head = b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"

    status, _head, answer = await deferToThread(server.ask, head)

    assert status == 401
    assert json.loads(answer)["status"] == 401


@pytest.mark.parametrize(
    "header", [b"Authorization: Bearer llj_x", b"Content-Type: text/plain", b"Host: y"]
)
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("method", [b"POST", b"GET", b"DELETE"])
@pytest_twisted.ensureDeferred
async def test_a_header_that_has_one_value_is_not_sent_twice(
    server: Server, method: bytes, header: bytes, *, is_first: bool
) -> None:
    good = [
        b"Host: x",
        b"Authorization: Bearer " + server.token,
        b"Content-Type: application/json",
        b"Content-Length: 2",
    ]
    lines = [header, *good] if is_first else [*good, header]

    status, head, answer = await deferToThread(
        server.ask, b"\r\n".join([method + b" /jobs HTTP/1.1", *lines, b"", b"{}"])
    )

    assert (status, json.loads(answer)["type"].rpartition(":")[2]) == (400, "repeated-header")
    assert b"Connection: close" in head


LENGTH = b"Content-Length: "


@pytest.mark.parametrize(
    "lines",
    [
        [LENGTH + b"2", LENGTH + b"2"],
        [LENGTH + b"2", b"Transfer-Encoding: chunked"],
        [LENGTH + b"+2"],
        [LENGTH + b"2, 2"],
        [LENGTH + b"9" * 19],
        [LENGTH + b"9" * 5000],
        [b"Transfer-Encoding: gzip, chunked"],
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_length_is_said_once_and_is_a_number(server: Server, lines: list[bytes]) -> None:
    failures: list[Any] = []
    globalLogPublisher.addObserver(observer := keep_failures(failures))
    head = [b"POST /jobs HTTP/1.1", b"Host: x", *lines]

    try:
        status, head_of_answer, _ = await deferToThread(
            server.ask, b"\r\n".join([*head, b"", b"{}"])
        )
    finally:
        globalLogPublisher.removeObserver(observer)

    assert (status, head_of_answer) == (400, NO_HTTP)
    assert failures == []


def keep_failures(kept: list[Any]) -> Any:
    def observe(event: dict[str, Any]) -> None:
        if event.get("isError") or event.get("log_failure"):
            kept.append(event)

    return observe


@pytest_twisted.ensureDeferred
async def test_a_header_that_is_a_list_may_be_sent_in_several_lines(server: Server) -> None:
    lines = [
        b"POST /jobs HTTP/1.1",
        b"Host: x",
        b"Connection: close",
        b"Authorization: Bearer " + server.token,
        b"Content-Type: application/json",
        b"Content-Encoding: gzip",
        b"Content-Encoding: identity",
        b"Content-Length: 2",
    ]

    status, _head, answer = await deferToThread(server.ask, b"\r\n".join([*lines, b"", b"{}"]))

    assert status == 415
    assert "'gzip, identity'" in json.loads(answer)["title"]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"POST /jobs?priority=5", 400),
        (b"DELETE /jobs/0f1c2d3e-4f50-4a61-8b72-9c83ad94be05?reason=x", 400),
        (b"DELETE /jobs/0f1c2d3e-4f50-4a61-8b72-9c83ad94be05", 404),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_changes_something_takes_no_arguments(
    server: Server, request_line: bytes, status: int
) -> None:
    head = [request_line + b" HTTP/1.1", b"Host: x", b"Connection: close"]
    token = b"Authorization: Bearer " + server.token

    answered = await deferToThread(server.ask, b"\r\n".join([*head, token, b"", b""]))

    assert answered[0] == status
    assert (b"unknown-argument" in answered[2]) is (status == 400)


@pytest_twisted.ensureDeferred
async def test_an_early_answer_to_head_has_no_body(server: Server) -> None:
    head = b"HEAD /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"

    answer = await deferToThread(server.begin, head)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"\r\n\r\n")


SOME_JOB = b"/0f1c2d3e-4f50-4a61-8b72-9c83ad94be05"


@pytest.mark.parametrize("where", [b"", b"/", SOME_JOB, SOME_JOB + b"/log", b"/x/y/z", b"/%ff"])
@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"post"])
@pytest.mark.parametrize("is_known", [True, False])
@pytest_twisted.ensureDeferred
async def test_whatever_tries_to_do_something_has_a_line_in_the_audit_log(
    server: Server, method: bytes, where: bytes, *, is_known: bool
) -> None:
    token = [b"Authorization: Bearer " + server.token] if is_known else []
    lines = [method + b" /jobs" + where + b" HTTP/1.1", b"Host: x", b"Connection: close", *token]

    status, _head, _answer = await deferToThread(server.ask, b"\r\n".join([*lines, b"", b""]))
    await server.audit_log.stop()

    (line,) = map(json.loads, server.audit_file.read_text().splitlines())
    assert 400 <= status < 500
    assert (line["status"], line["outcome"]) == (status, "refused")
    assert line["method"] == method.decode()
    assert line["token"] == ("ci" if is_known else None)
