# SPDX-License-Identifier: GPL-2.0-only
"""The client, against a server that answers what a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from latent_libvirt.jobs.client import Client, JobError

Answer = tuple[int, dict[str, str], Any]

SOON = 0.02
"""Seconds in which a server notices that it is to end."""


class Server(ThreadingHTTPServer):
    """Gives one answer after the other, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/jobs"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, dict(self.headers), body))
        status, head, document = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in head.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(document if isinstance(document, bytes) else json.dumps(document).encode())

    do_POST = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=[SOON])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(server: Server, slept: list[float]) -> Client:
    return Client(server.url, "secret", sleep=slept.append)


def test_a_request_without_a_valid_token_is_answered_with_how_a_command_gets_one(
    server: Server, client: Client
) -> None:
    detail = "There is none in the request. Send the header 'Authorization: Bearer TOKEN'."
    server.answers.append((401, {}, {"title": "a valid token is needed", "detail": detail}))

    with pytest.raises(JobError, match="a valid token is needed") as caught:
        client.job("some-uuid")

    assert caught.value.details == "There is none in the request."
    assert "--token-file FILE" in str(caught.value.resolution)


def test_a_post_that_is_repeated_is_the_same(
    server: Server, client: Client, slept: list[float]
) -> None:
    server.answers = [(503, {"Retry-After": "7"}, {}), (502, {}, b"oops"), (201, {}, {"uuid": "x"})]

    assert client.submit({"builder": "check"}) == {"uuid": "x"}

    bodies = {body for _method, _path, _head, body in server.asked}
    assert len(bodies) == 1
    assert json.loads(bodies.pop())["uuid"]
    assert slept == [7, 1.0]
    assert {head["Authorization"] for _m, _p, head, _b in server.asked} == {"Bearer secret"}


def test_a_refusal_is_told_and_not_repeated(server: Server, client: Client) -> None:
    server.answers = [(422, {}, {"title": "no builder", "detail": "Nothing was started."})]
    with pytest.raises(JobError) as raised:
        client.submit({"builder": "x"})
    assert (raised.value.brief, raised.value.details) == ("no builder", "Nothing was started.")
    assert len(server.asked) == 1


def test_patience_ends(server: Server, client: Client, slept: list[float]) -> None:
    server.answers = [(429, {"Retry-After": "50"}, {"title": "too many"})] * 3
    with pytest.raises(JobError, match="too many"):
        client.job("u")
    assert slept == [50, 50]


def test_a_server_that_is_away_is_told(slept: list[float]) -> None:
    client = Client("http://127.0.0.1:1/jobs", None, sleep=slept.append)
    with pytest.raises(JobError, match="cannot be reached"):
        client.job("u")
    assert 60 < sum(slept) <= 120


def test_the_token_goes_nowhere_else(server: Server, client: Client) -> None:
    server.answers = [(302, {"Location": server.url + "/elsewhere"}, {})]
    with pytest.raises(JobError, match="302"):
        client.job("u")
    assert len(server.asked) == 1


def test_who_waits_is_told_why_once(server: Server, slept: list[float]) -> None:
    reported: list[str] = []
    client = Client(server.url, None, sleep=slept.append, report=reported.append)
    server.answers = [*[(503, {}, {"title": "not yet"})] * 3, (200, {}, {"uuid": "u"})]

    client.job("u")

    assert reported == ["not yet", "Trying again for up to 120 s."]
    assert len(slept) == 3


def test_what_will_never_be_answered_is_not_tried_again(slept: list[float]) -> None:
    client = Client("http://127.0.0.1:x/jobs", None, sleep=slept.append)
    with pytest.raises(JobError, match="cannot be reached"):
        client.job("u")
    assert slept == []


def test_an_object_of_another_server_is_no_job(server: Server, client: Client) -> None:
    server.answers = [(200, {}, {"meta": {}, "builders": []})] * 2
    with pytest.raises(JobError, match="no job API"):
        client.job("u")
    with pytest.raises(JobError, match="no job API"):
        list(client.jobs(1, {}))


def test_a_list_that_leads_on_to_nothing_ends(server: Server, client: Client) -> None:
    server.answers = [(200, {}, {"jobs": [], "next": "7"})]
    assert list(client.jobs(3, {})) == []


def test_a_name_that_is_none_or_no_text_is_no_other_question(
    server: Server, client: Client
) -> None:
    server.answers = [(400, {}, {"title": "no text"})] * 2
    with pytest.raises(JobError, match="is empty"):
        client.job("")
    with pytest.raises(JobError, match="no text"):
        client.job("\udcff")
    with pytest.raises(JobError, match="no text"):
        list(client.jobs(1, {"builder": "\udcff"}))
    assert [path for _m, path, _h, _b in server.asked] == [
        "/jobs/%FF",
        "/jobs?builder=%FF&limit=1",
    ]


@pytest.mark.parametrize("answer", [b"<html>", b"[]x", b'"text"'])
def test_what_is_no_job_api_is_told(server: Server, client: Client, answer: bytes) -> None:
    server.answers = [(200, {}, answer)]
    with pytest.raises(JobError, match="no job API"):
        client.job("u")


def test_a_name_cannot_lead_to_another_path(server: Server, client: Client) -> None:
    server.answers = [(404, {}, {"title": "there is no job"})]
    with pytest.raises(JobError, match="there is no job"):
        client.cancel("../../api?x")
    assert server.asked[0][:2] == ("DELETE", "/jobs/..%2F..%2Fapi%3Fx")


def test_a_list_goes_on_until_there_is_enough(server: Server, client: Client) -> None:
    server.answers = [
        (200, {}, {"jobs": [{"uuid": "a"}, {"uuid": "b"}], "next": "7"}),
        (200, {}, {"jobs": [{"uuid": "c"}], "next": "6"}),
    ]
    assert [job["uuid"] for job in client.jobs(3, {"builder": "check"})] == ["a", "b", "c"]
    assert [path for _m, path, _h, _b in server.asked] == [
        "/jobs?builder=check&limit=3",
        "/jobs?builder=check&limit=1&cursor=7",
    ]
