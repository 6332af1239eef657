# SPDX-License-Identifier: GPL-2.0-only
"""The job API of a real master, from outside."""

from __future__ import annotations

import json
import socket
import sqlite3
import stat
import urllib.request
from contextlib import closing
from itertools import dropwhile
from typing import Any
from uuid import uuid4

import pytest

import memory
from buildmaster import wait_for
from job_masters import NO_TEXTS, JobMaster, ask, post_head

PROBLEM = "application/problem+json"


def test_one_post_starts_a_job_that_its_url_tells_of(master: JobMaster) -> None:
    reply = master.post(builder="check", properties={"word": "hello"}, reason="to see it")

    job = reply.document
    assert (reply.status, reply.head["Location"]) == (201, job["url"])
    assert job["url"] == f"{master.jobs_url}/{job['uuid']}"
    assert (job["reason"], job["token"]) == ("to see it", "tests")

    done = master.finished(job["uuid"])
    assert (done["result"], done["tries"]) == ("success", 1)
    (attempt,) = done["attempts"]
    assert (attempt["state"], attempt["result"]) == ("finished", "success")
    assert attempt["worker"].startswith("scheduler-")
    assert attempt["master"].endswith("scheduler")
    assert attempt["started_at"] <= attempt["ready_at"] <= attempt["finished_at"]
    preparation, say = attempt["steps"]
    assert (preparation["name"], say["name"]) == ("worker_preparation", "say")
    with urllib.request.urlopen(say["logs"][0]["raw_url"]) as log:
        assert f"job {job['uuid']} says hello" in log.read().decode()


def test_a_post_may_be_repeated(master: JobMaster) -> None:
    uuid = str(uuid4())
    first = master.post(builder="check", uuid=uuid, properties={"a": 1, "b": [2]})
    again = master.post(properties={"b": [2], "a": 1}, uuid=uuid.upper(), builder="check")

    assert (first.status, again.status) == (201, 200)
    assert again.document["build_request"] == first.document["build_request"]
    master.finished(uuid)
    late = master.post(builder="check", uuid=uuid, properties={"a": 1, "b": [2]})
    assert (late.status, late.document["result"]) == (200, "success")
    assert len(master.get(f"buildsets?external_idstring={uuid}")) == 1


def test_what_is_refused_or_repeated_keeps_no_patch(master: JobMaster) -> None:
    def patches() -> int:
        with closing(sqlite3.connect(master.directory / "state.sqlite")) as database:
            return int(database.execute("SELECT COUNT(*) FROM patches").fetchone()[0])

    full = master.make_token("full", max_unfinished=0)
    sources: dict[str, Any] = {"sourcestamps": [{"patch": {"body": "x" * 10_000}}]}
    job: dict[str, Any] = {"builder": "check", "uuid": str(uuid4()), **sources}
    assert master.post(**job).status == 201
    before = patches()

    assert master.post(**job).status == 200
    assert master.post(**{**job, "priority": 1}).status == 409
    assert master.post(builder="chekc", **sources).status == 422
    assert master.post(token=full, builder="check", **sources).status == 429
    assert patches() == before


def test_another_job_under_the_same_uuid_is_refused(master: JobMaster) -> None:
    uuid = str(uuid4())
    master.post(builder="check", uuid=uuid)

    reply = master.post(builder="check", uuid=uuid, properties={"word": "other"})

    assert (reply.status, reply.kind) == (409, "application/problem+json")
    assert reply.document["type"] == "urn:latent-libvirt:problem:uuid-in-use"
    assert reply.document["uuid"] == uuid


def test_a_builder_that_no_active_master_has_starts_nothing(master: JobMaster) -> None:
    before = len(master.get("buildsets"))

    reply = master.post(builder="chekc")

    assert (reply.status, reply.document["status"]) == (422, 422)
    assert reply.document["type"].endswith(":unknown-builder")
    assert len(master.get("buildsets")) == before


def test_who_may_not_is_refused(master: JobMaster) -> None:
    narrow = master.make_token("narrow", "chec[j-l]")
    expired = master.make_token("expired", expires=1)
    body = {"builder": "fail"}

    refusals = [
        ask("POST", master.jobs_url, body=body),
        ask("POST", master.jobs_url, body=body, token="llj_wrong"),
        ask("POST", master.jobs_url, body=body, token=expired),
        ask("POST", master.jobs_url, body=body, token=narrow),
    ]

    assert [reply.status for reply in refusals] == [401, 401, 401, 403]
    assert all(reply.kind == "application/problem+json" for reply in refusals)
    assert refusals[0].head["WWW-Authenticate"].startswith("Bearer")
    assert master.post(token=narrow, builder="check").status == 201
    uuid = master.post(builder="fail").document["uuid"]
    assert ask("DELETE", f"{master.jobs_url}/{uuid}", token=narrow).status == 403


def test_a_token_that_is_revoked_is_worth_nothing_at_once(master: JobMaster) -> None:
    token = master.make_token("leaver")
    assert master.post(token=token, builder="check").status == 201

    master.revoke_token("leaver")

    assert master.post(token=token, builder="check").status == 401


def test_a_body_that_is_no_job_is_refused(master: JobMaster) -> None:
    def status(body: object, **headers: str) -> int:
        return ask("POST", master.jobs_url, token=master.token, body=body, headers=headers).status

    assert status(b"{") == 400
    assert status(b'{"builder": "check", "properties": {"x": NaN}}') == 400
    assert status(b"[" * 100_000) == 400
    assert status(b'{"builder": "check", "reason": "\\ud800"}') == 400
    assert status({"builder": "check"}, **{"Content-Type": "text/plain"}) == 415
    assert status({"builder": "check"}, **{"Content-Encoding": "gzip"}) == 415
    assert status(b'{"builder": "check", "properties": {"x": 1e-99999999999999999999}}') == 422
    assert status({"builder": "check", "surprise": 1}) == 422
    assert status({"builder": "check", "properties": {"job_uuid": "forged"}}) == 422
    assert status({}) == 422
    assert status({"builder": "check", "reason": "x" * 2**20}) == 413


@pytest.mark.parametrize(("method", "where", "headers"), NO_TEXTS)
def test_what_is_no_text_is_refused(
    master: JobMaster, method: str, where: str, headers: dict[str, str]
) -> None:
    token = {"Authorization": f"Bearer {master.token}"}
    reply = ask(method, master.jobs_url + where, headers=token | headers)
    assert (reply.status, reply.kind) == (400, PROBLEM)


@pytest.mark.parametrize(("method", "where", "headers"), NO_TEXTS)
def test_a_client_without_a_token_learns_the_same(
    master: JobMaster, method: str, where: str, headers: dict[str, str]
) -> None:
    reply = ask(method, master.jobs_url + where, headers=headers)
    needs_a_token_first = method == "POST" and "Authorization" not in headers
    assert (reply.status, reply.kind) == (401 if needs_a_token_first else 400, PROBLEM)


def test_a_header_that_nobody_reads_may_be_no_text(master: JobMaster) -> None:
    unknown = f"{master.jobs_url}/00000000-0000-0000-0000-000000000000"
    assert ask("GET", unknown, headers={"Accept": "\xff"}).status == 404


@pytest.mark.parametrize(
    "body",
    [
        b'{"builder": "check", "properties": {"owners": 1e400}}',
        b'{"builder": "check", "properties": {"word": 1e400}}',
        b'{"builder": "check", "properties": {"word": 1, "word": 2}}',
        b'{"builder": "check", "properties": {"word": 9007199254740993}}',
        b'{"builder": "check", "properties": {"word": [' + b"{}," * 340_000 + b"{}]}}",
        b'{"builder": "check", "properties": ' + b'{"a":' * 170_000 + b"{}" + b"}" * 170_001,
    ],
)
def test_what_is_not_read_alike_or_costs_too_much_is_refused(
    master: JobMaster, body: bytes
) -> None:
    reply = ask("POST", master.jobs_url, token=master.token, body=body)
    assert (reply.status, reply.kind) == (422, PROBLEM)


def test_buildbots_ui_finds_what_it_loads_of_each_plugin(master: JobMaster) -> None:
    plugin = master.jobs_url.replace("/jobs", "/plugins/jobs")
    kinds = {name: ask("GET", f"{plugin}/{name}") for name in ("scripts.js", "styles.css")}
    assert {name: (r.status, r.kind) for name, r in kinds.items()} == {
        "scripts.js": (200, "text/javascript"),
        "styles.css": (200, "text/css"),
    }


def test_a_token_is_for_its_labels_properties_and_priorities(master: JobMaster) -> None:
    token = master.make_token("scoped", labels=["deb*"], properties=["word"], max_priority=5)

    def status(**body: object) -> int:
        return master.post(token=token, builder="check", **body).status

    assert status(label="debian", properties={"word": "x"}, priority=5) == 201
    assert status(label="fedora") == 403
    assert status(properties={"label": "fedora"}) == 403
    assert status(properties={"other": "x"}) == 403
    assert status(priority=6) == 403
    assert master.post(builder="check", priority=2**31 - 1).status == 403


def test_a_property_that_somebody_interprets_touches_no_builder(master: JobMaster) -> None:
    token = master.make_token("checks", "check*")
    before = master.get("builders")
    virtual = {"virtual_builder_name": "fail", "virtual_builder_tags": ["x"]}

    replies = {
        name: master.post(token=token, builder="check", properties={name: value})
        for name, value in (virtual | {"owner": {}, "suite": "sid", "event.type": 1}).items()
    }

    for name, reply in replies.items():
        assert (reply.status, reply.kind) == (422, "application/problem+json"), name
        (error,) = reply.document["errors"]
        assert error["pointer"] == f"#/properties/{name}"
    assert master.get("builders") == before


def test_methods_and_paths_that_do_not_exist_are_told(master: JobMaster) -> None:
    wrong = ask("PUT", master.jobs_url, token=master.token, body={})
    assert (wrong.status, wrong.head["Allow"]) == (405, "GET, POST")
    assert ask("GET", f"{master.jobs_url}/no-uuid").status == 404
    assert ask("GET", f"{master.jobs_url}/{uuid4()}").status == 404
    assert ask("GET", f"{master.jobs_url}/{uuid4()}/x/y").status == 404


def test_it_is_where_buildbots_plugins_are_too(master: JobMaster) -> None:
    uuid = master.post(builder="check").document["uuid"]
    plugin = master.jobs_url.replace("/jobs", "/plugins/jobs")

    assert ask("GET", f"{plugin}/{uuid}").document["uuid"] == uuid
    assert ask("HEAD", f"{plugin}/{uuid}").status == 200


def test_a_job_goes_through_its_states(master: JobMaster) -> None:
    uuid = master.post(builder="slow").document["uuid"]
    running = master.wait_for_state(uuid, "running")
    assert running["result"] is None
    (attempt,) = running["attempts"]
    assert (attempt["state"], attempt["finished_at"]) == ("running", None)

    build = ask("GET", f"{master.jobs_url}/{uuid}/build")
    assert (build.status, build.head["Location"]) == (303, attempt["url"])
    wait_for("a log", lambda: len(master.job(uuid)["attempts"][0]["steps"][-1]["logs"]))
    as_text = ask("GET", f"{master.jobs_url}/{uuid}/log")
    for_people = ask("GET", f"{master.jobs_url}/{uuid}/log", headers={"Accept": "text/html"})
    assert as_text.head["Location"].endswith("/raw")
    assert "/steps/1/logs/stdio" in for_people.head["Location"]

    waiting = [master.post(builder="slow").document["uuid"] for _ in range(3)]
    for job in waiting[:2]:
        master.wait_for_state(job, "running")
    assert "room" in master.wait_for_state(waiting[2], "waiting")["text"]
    assert (
        ask("GET", f"{master.jobs_url}/{waiting[2]}/log").document["type"].endswith("no-build-yet")
    )

    master.let_go()
    assert {master.finished(job)["result"] for job in (uuid, *waiting)} == {"success"}


def test_a_job_is_cancelled_while_it_runs_and_while_it_waits(master: JobMaster) -> None:
    jobs = [master.post(builder="slow").document["uuid"] for _ in range(4)]
    for job in jobs[:3]:
        master.wait_for_state(job, "running")

    replies = [ask("DELETE", f"{master.jobs_url}/{job}", token=master.token) for job in jobs]

    assert {reply.status for reply in replies} <= {200, 202}
    for job in jobs:
        done = master.finished(job)
        assert (done["result"], done["cancelled_by"]) == ("cancelled", "tests")
    again = ask("DELETE", f"{master.jobs_url}/{jobs[0]}", token=master.token)
    assert (again.status, again.document["result"]) == (200, "cancelled")


def test_a_job_that_waits_is_never_merged_with_another(master: JobMaster) -> None:
    running = [master.post(builder="slow").document["uuid"] for _ in range(3)]
    for job in running:
        master.wait_for_state(job, "running")
    waiting = master.post(builder="slow").document["uuid"]

    # Buildbot looks for what it can merge whenever anything but a job is started.
    request = master.start_rebuild(master.job(running[0])["attempts"][0]["build"])
    master.let_go()

    assert master.finished(waiting)["result"] == "success"
    assert master.wait_for_result(request) == "SUCCESS"


def test_jobs_are_listed_page_by_page(master: JobMaster) -> None:
    lister = master.make_token("lister")
    uuids = [master.post(token=lister, builder="fail").document["uuid"] for _ in range(5)]
    for uuid in uuids:
        assert master.finished(uuid)["result"] == "failure"

    seen: list[list[str]] = []
    url = f"{master.jobs_url}?token=lister&state=finished&result=failure&limit=2"
    while url:
        page = ask("GET", url).document
        seen.append([job["uuid"] for job in page["jobs"]])
        url = page["next_url"]

    assert [uuid for page in seen for uuid in page] == uuids[::-1]
    assert [len(page) for page in seen] == [2, 2, 1]
    assert ask("GET", f"{master.jobs_url}?token=lister&state=unfinished").document["jobs"] == []
    assert ask("GET", f"{master.jobs_url}?until=2001-01-01T00:00:00Z").document["jobs"] == []
    assert ask("GET", f"{master.jobs_url}?colour=red").status == 400


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("token=lister&token=all", "invalid-filter"),
        ("property=a%3D1&property=b%3D2", "invalid-filter"),
        ("&".join(["property=a"] * 60), "too-many-arguments"),
        ("token=%FF", "no-text"),
    ],
)
def test_a_list_that_could_be_meant_in_two_ways_is_refused(
    master: JobMaster, query: str, problem: str
) -> None:
    answer = ask("GET", f"{master.jobs_url}?{query}")

    assert answer.status == 400
    assert answer.document["type"].endswith(problem)


@pytest.mark.parametrize("asked", ["100000", "1e5", "1E5", "100000.0"])
def test_a_number_is_found_however_it_was_written(master: JobMaster, asked: str) -> None:
    jobs = [
        master.post(builder="fail", properties={"size": size}).document["uuid"]
        for size in (100000, 1e5)
    ]

    found = ask("GET", f"{master.jobs_url}?property=size%3D{asked}").document["jobs"]

    assert {job["uuid"] for job in found} >= set(jobs)


def test_what_is_rebuilt_or_triggered_carries_the_link(master: JobMaster) -> None:
    job = master.post(builder="parent").document
    child = master.wait_for_child(job["uuid"])
    master.let_go()
    done = master.finished(job["uuid"])

    links = {"job_uuid": job["uuid"], "job_url": job["url"]}
    own = done["attempts"][0]["build"]
    for build in (own, child, master.rebuild(own), master.rebuild(child)):
        master.wait_for_properties(build, links)
    assert len(master.job(job["uuid"])["attempts"]) == 1


LENGTH = "Content-Length: 100000000"
CHUNKED = "Transfer-Encoding: chunked"
LARGE = b"&" * 3_000_000
"""A form of as many fields, if it were one: it would hold Twisted up for seconds."""


@pytest.mark.parametrize(
    ("how", "old", "new", "status"),
    [
        (LENGTH, b"", b"", b"413"),
        (LENGTH, b"Bearer llj_", b"Bearer ", b"401"),
        (LENGTH, b"Bearer llj_", b"Bearer \xff", b"400"),
        (CHUNKED, b"", b"", b"413"),
        (CHUNKED, b"Bearer llj_", b"Bearer ", b"401"),
        (CHUNKED, b"application/json", b"application/x-www-form-urlencoded", b"415"),
    ],
)
def test_a_large_body_is_answered_by_its_head_and_never_kept(
    master: JobMaster, how: str, old: bytes, new: bytes, status: bytes
) -> None:
    before = memory.peak(master.pid)
    head = post_head(master.token, how).replace(old, new)
    body = f"{len(LARGE):x}\r\n".encode() + LARGE if how == CHUNKED else LARGE
    connections = [
        socket.create_connection(("127.0.0.1", master.web_port), timeout=60) for _ in range(20)
    ]
    try:
        for each in connections:
            each.sendall(head + body)
        answers = [each.recv(4096) for each in connections]
    finally:
        for each in connections:
            each.close()

    assert [answer.split(b" ", 2)[1] for answer in answers] == [status] * len(connections)
    assert all(b"application/problem+json" in answer for answer in answers)
    assert memory.peak(master.pid) - before < memory.BOUND


def test_who_waits_to_be_told_to_go_on_is_refused_instead(master: JobMaster) -> None:
    head = post_head("wrong", "Content-Length: 1000", "Expect: 100-continue")
    with socket.create_connection(("127.0.0.1", master.web_port), timeout=60) as connection:
        connection.sendall(head)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"100 Continue" not in answer


def test_the_audit_log_says_who_has_asked_for_what_and_holds_no_secret(master: JobMaster) -> None:
    token = master.make_token("auditor", "check")
    secret = "correct-horse"
    job = master.post(token=token, builder="check", properties={"word": secret}).document
    master.post(token=token, builder="fail", reason=secret)
    ask("POST", master.jobs_url, token=secret, body={"builder": "check"})
    ask("GET", f"{master.jobs_url}/{secret}")
    master.delete(job["uuid"], token=token)
    ask("PUT", master.jobs_url, token=token)
    path = master.directory / "job-api-audit.log"

    def mine() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in path.read_text("ascii").splitlines()]
        return list(dropwhile(lambda line: line["token"] != "auditor", lines))

    found = wait_for("six lines", lambda: lines if len(lines := mine()) >= 6 else None)
    facts = [(line["method"], line["builder"], line["status"], line["problem"]) for line in found]
    assert facts[:4] == [
        ("POST", "check", 201, None),
        ("POST", "fail", 403, "not-in-scope"),
        ("POST", None, 401, "no-valid-token"),
        ("GET", None, 404, "no-such-job"),
    ]
    assert [line["token"] for line in found] == ["auditor", "auditor", None, None, *["auditor"] * 2]
    assert (found[4]["method"], found[4]["job"]) == ("DELETE", job["uuid"])
    assert found[0]["job"] == job["uuid"]
    assert {line["from"] for line in found} == {"127.0.0.1"}
    assert token not in path.read_text()
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_describes_itself(master: JobMaster) -> None:
    description = ask("GET", f"{master.jobs_url}/openapi.json").document
    assert description["openapi"] == "3.1.0"
    assert description["servers"] == [{"url": master.jobs_url.removesuffix("/jobs")}]
    assert "JobRequest" in json.dumps(description["paths"]["/jobs"]["post"]["requestBody"])
