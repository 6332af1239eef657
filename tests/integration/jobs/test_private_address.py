# SPDX-License-Identifier: GPL-2.0-only
"""A job API that is hidden: with TLS at an address of its own, and shown to tokens alone."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from buildmaster import free_port, wait_for
from job_masters import JobMaster, Reply, ask, post_head

MAX_BODY = 5000
POSTS = 6


class PrivateMaster(JobMaster):
    """A master whose job API listens elsewhere."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        directory.mkdir()
        certificate.private_key_pem.write_to_path(directory / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(directory / "chain.pem")
        self.port = free_port()
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)
        super().__init__(
            directory,
            job_api=f"read='token', max_body={MAX_BODY}, posts_per_minute={POSTS},"
            "labels={'deb*': 'check'}, listen="
            f"'ssl:{self.port}:interface=127.0.0.1:privateKey=key.pem:certKey=chain.pem'",
            more="c['www']['plugins'] = {}",
        )

    @property
    def jobs_url(self) -> str:
        return f"https://127.0.0.1:{self.port}/jobs"

    def ask(self, method: str, path: str = "", *, token: str | None, body: object = None) -> Reply:
        """Ask at the private address."""
        url = self.jobs_url + path
        return ask(method, url, token=token, body=body, context=self.context)

    def serves(self) -> bool:
        if not super(JobMaster, self).serves():
            return False
        return self.ask("GET", token=None).status != 503


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateMaster]:
    master = PrivateMaster(tmp_path_factory.mktemp("private") / "scheduler")
    master.start()
    yield master
    master.stop()


def test_jobs_are_shown_to_tokens_alone(private: PrivateMaster) -> None:
    narrow = private.make_token("narrow", "docs")
    job = private.ask("POST", token=private.token, body={"builder": "check"}).document
    path = f"/{job['uuid']}"

    assert private.ask("GET", path, token=None).status == 401
    assert private.ask("GET", path, token=narrow).status == 403
    assert private.ask("GET", path, token=private.token).status == 200
    assert private.ask("GET", token=None).status == 401
    assert private.ask("GET", token=narrow).document["jobs"] == []
    assert len(private.ask("GET", token=private.token).document["jobs"]) == 1


def test_buildbots_own_address_does_not_know_them(private: PrivateMaster) -> None:
    public = f"http://127.0.0.1:{private.web_port}"
    assert ask("GET", f"{public}/jobs").status == 404
    assert ask("GET", f"{public}/plugins/jobs").status == 404
    assert private.ask("GET", "/../api/v2/masters", token=private.token).status == 404


def test_a_label_can_choose_the_builder(private: PrivateMaster) -> None:
    token = private.make_token("by-label")
    job = private.ask("POST", token=token, body={"label": "debian-12"}).document
    assert (job["builder"], job["properties"]["label"]) == ("check", "debian-12")
    for unknown in (
        {"label": "fedora"},
        {"label": "fedora", "builder": "check"},
        {"properties": {"label": "fedora"}, "builder": "check"},
    ):
        refused = private.ask("POST", token=token, body=unknown)
        assert (refused.status, refused.document["type"].split(":")[-1]) == (422, "unknown-label")


def until_refused(private: PrivateMaster, token: str, body: object) -> list[Reply]:
    """Post until that is too often; return all replies.

    A machine that is busy may take so long that it may post once more.
    """
    replies = [private.ask("POST", token=token, body=body)]
    while replies[-1].status != 429:
        assert len(replies) < 10 * POSTS
        replies.append(private.ask("POST", token=token, body=body))
    return replies


def test_too_many_are_told_when_to_come_back(private: PrivateMaster) -> None:
    token = private.make_token("eager")
    replies = until_refused(private, token, {"builder": "check"})
    assert {reply.status for reply in replies[:POSTS]} == {201}
    assert 0 < int(replies[-1].head["Retry-After"]) <= 60 / POSTS
    other = private.make_token("patient")
    assert private.ask("POST", token=other, body={"builder": "check"}).status == 201


def test_posts_that_are_refused_count(private: PrivateMaster) -> None:
    token = private.make_token("noisy")
    replies = until_refused(private, token, b"[" * 4000)
    assert {reply.status for reply in replies[:POSTS]} == {400}


def test_each_refusal_is_a_problem_document(private: PrivateMaster) -> None:
    for method, path in [("GET", "/x/y/z"), ("OPTIONS", ""), ("PATCH", ""), ("GET", "/../else")]:
        reply = private.ask(method, path, token=private.token)
        assert reply.kind == "application/problem+json", (method, path)
        assert reply.document["status"] == reply.status >= 400


@pytest.mark.parametrize("how", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"])
def test_a_body_that_is_too_large_is_refused_before_it_has_come(
    private: PrivateMaster, how: str
) -> None:
    where = urlsplit(private.jobs_url)
    chunk = b"x" * (MAX_BODY + 1)
    if "chunked" in how:
        chunk = f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n"
    with (
        socket.create_connection((where.hostname, where.port), timeout=60) as plain,
        private.context.wrap_socket(plain, server_hostname=where.hostname) as connection,
    ):
        head = post_head(private.token, how)
        connection.sendall(head + chunk)
        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer


def test_what_is_asked_beside_jobs_is_refused_with_a_line_in_the_audit_log(
    private: PrivateMaster,
) -> None:
    token = private.make_token("beside")
    root = private.jobs_url.removesuffix("/jobs")

    reply = ask("POST", f"{root}/job", token=token, body={}, context=private.context)

    assert (reply.status, reply.document["type"].rpartition(":")[2]) == (404, "nothing-here")
    path = private.directory / "job-api-audit.log"
    mine = wait_for(
        "its line",
        lambda: [line for line in path.read_text().splitlines() if '"token": "beside"' in line],
    )
    assert [(line["method"], line["status"]) for line in map(json.loads, mine)] == [("POST", 404)]
