# SPDX-License-Identifier: GPL-2.0-only
"""The commands that start and watch jobs, with a server that answers what a test says."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from job_records import JOB, WHERE, attempt, claimed, preparation
from latent_libvirt.cli import job as job_module
from latent_libvirt.cli import main
from latent_libvirt.jobs.document import full
from latent_libvirt.jobs.models import Job
from latent_libvirt.jobs.state import RESULTS

URL = "http://ci.example/jobs"
ACCEPTED = full(JOB, WHERE, 1001)
RUNNING = full(claimed(attempt(preparation(0))), WHERE, 1004)


def ended(result: str = "success") -> Job:
    return full(replace(JOB, finished_at=1010, result=RESULTS.index(result)), WHERE, 1020)


class Server:
    """Takes the place of the client; gives one document after the other, the last for ever."""

    def __init__(self, *documents: dict[str, Any]) -> None:
        self.documents = list(documents)
        self.submitted: dict[str, Any] = {}
        self.connected: tuple[str, str | None] | None = None
        self.listed: tuple[int, dict[str, str]] | None = None

    def __call__(self, url: str, token: str | None, **_more: object) -> Server:
        self.connected = (url, token)
        return self

    def submit(self, request: dict[str, Any]) -> dict[str, Any]:
        self.submitted = request
        return self.job("")

    def job(self, _uuid: str) -> dict[str, Any]:
        return self.documents.pop(0) if len(self.documents) > 1 else self.documents[0]

    cancel = job

    def jobs(self, limit: int, filters: dict[str, str]) -> list[dict[str, Any]]:
        self.listed = (limit, filters)
        return self.documents


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Any:
    def serve(*documents: dict[str, Any]) -> Server:
        server = Server(*documents)
        monkeypatch.setattr(job_module, "Client", server)
        return server

    monkeypatch.setattr(job_module, "REFRESH", 0)
    return serve


def run(*arguments: str, **environment: str) -> Result:
    environment = {"LATENT_LIBVIRT_JOBS_URL": URL} | environment
    return CliRunner().invoke(main, ["job", *arguments], env=environment)


@pytest.mark.parametrize(
    ("result", "status"),
    list(job_module.STATUSES.items()),
)
def test_the_exit_status_says_how_a_job_has_ended(serve: Any, result: str, status: int) -> None:
    serve(ACCEPTED, RUNNING, ended(result))
    done = run("submit", "--builder", "check")
    assert done.exit_code == status
    assert done.stdout.startswith(f"{ACCEPTED['url']}\n")
    assert result in done.stdout


def test_each_state_is_one_line_where_there_is_no_terminal(serve: Any) -> None:
    serve(ACCEPTED, ACCEPTED, RUNNING, RUNNING, ended())
    lines = run("watch", JOB.uuid).stderr.splitlines()
    assert [line.split()[1] for line in lines] == ["accepted", "running", "finished"]


def test_what_is_wanted_is_sent(serve: Any) -> None:
    server = serve(ACCEPTED)
    options = "--property a=1=2 --json-property b=[1] --branch main --priority 3 --uuid u"
    done = run("submit", "--label", "debian-12", "--no-wait", *options.split())
    assert (done.exit_code, done.stdout) == (0, f"{ACCEPTED['url']}\n")
    assert server.submitted == {
        "label": "debian-12",
        "properties": {"a": "1=2", "b": [1]},
        "sourcestamps": [{"repository": "", "branch": "main", "revision": None, "project": ""}],
        "priority": 3,
        "uuid": "u",
    }


@pytest.mark.parametrize("option", ["--property=a", "--property==1", "--json-property=a={"])
def test_a_property_that_is_none_is_wrong_usage(serve: Any, option: str) -> None:
    serve(ACCEPTED)
    assert run("submit", "--builder", "check", option).exit_code == 2


def test_the_token_comes_from_a_file_or_the_environment(serve: Any, tmp_path: Path) -> None:
    server = serve(ended())
    file = tmp_path / "token"
    file.write_text("llj_file\n")
    file.chmod(0o600)

    run("status", "u", LATENT_LIBVIRT_TOKEN="llj_environment")
    assert server.connected == (URL, "llj_environment")
    run("status", "u", "--token-file", str(file), LATENT_LIBVIRT_TOKEN="llj_environment")
    assert server.connected == (URL, "llj_file")
    file.chmod(0o644)
    assert "chmod 600" in run("status", "u", LATENT_LIBVIRT_TOKEN_FILE=str(file)).stderr


def test_no_option_takes_a_token() -> None:
    for command in ("submit", "status", "watch", "cancel"):
        assert "--token " not in run(command, "--help").stdout


def test_programs_get_json(serve: Any) -> None:
    serve(ACCEPTED, ended("failure"))
    done = run("submit", "--builder", "check", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (3, ended("failure"))
    assert json.loads(run("status", "u", "--json").stdout)["result"] == "failure"


def test_a_status_shows_each_attempt(serve: Any) -> None:
    serve(RUNNING)
    shown = run("status", "u").stdout
    assert "w1 of alpha:/srv, VM latent-libvirt-1 on alpha; starting 1 s, running 1 s" in shown


def test_a_cancel_says_whether_it_came_too_late(serve: Any) -> None:
    serve(RUNNING)
    assert run("cancel", "u").stdout == "job u is being cancelled.\n"
    serve(ended())
    assert run("cancel", "u").stdout == "job u has ended: success.\n"


def test_a_list_is_filtered_by_the_server(serve: Any) -> None:
    server = serve(ended("failure"), RUNNING)
    since = ("--since", "2026-11-01T08:30+01:00")
    shown = run("list", "--builder", "check", "--limit", "7", *since).stdout
    assert server.listed == (7, {"builder": "check", "since": "2026-11-01T07:30:00Z"})
    assert "failure" in shown
    assert "running" in shown


def test_whom_to_ask_must_be_said(serve: Any) -> None:
    serve(RUNNING)
    assert run("status", "u", LATENT_LIBVIRT_JOBS_URL="").exit_code == 2
    assert run("status", "u", "--url", "ftp://ci.example").exit_code == 2


@pytest.mark.parametrize(
    "url",
    ["http://", "http://[::1", "http://ci:abc/jobs", "http://ci:99999/jobs", "http://ci:0/jobs",
     "http://user:word@ci/jobs", "http://ci/jo bs", "http://ci/jobs\n", "http://ci/jobs?limit=1",
     "http://ci/jobs#x", "http://ci/j\xf6bs"],
)  # fmt: skip
def test_a_url_that_no_server_has_is_wrong_usage(serve: Any, url: str) -> None:
    serve(RUNNING)
    result = run("status", "u", "--url", url)
    assert (result.exit_code, "Invalid value for --url" in result.stderr) == (2, True)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"llj_a\nllj_b", b"", b"x" * 5000, b"llj_\xe9"])
def test_a_file_that_holds_no_token_is_told_by_name(
    serve: Any, tmp_path: Path, content: bytes
) -> None:
    serve(RUNNING)
    file = tmp_path / "my token"
    file.write_bytes(content)
    file.chmod(0o600)
    result = run("status", "u", "--token-file", str(file))
    assert result.exit_code == 1
    assert str(file) in result.stderr
    assert "not foreseen" not in result.stderr


def test_a_token_file_that_never_ends_or_begins_is_refused(serve: Any, tmp_path: Path) -> None:
    serve(RUNNING)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    result = run("status", "u", "--token-file", str(fifo))
    assert (result.exit_code, "no ordinary file" in result.stderr) == (1, True)


def test_what_a_client_wrote_commands_no_terminal(serve: Any) -> None:
    nasty = "\x1b]0;pwned\x07\x1b[31m\u202e\nsuccess"
    job = ended("failure") | {"reason": nasty, "text": nasty, "builder": nasty, "url": nasty}
    serve(job)
    for command in (["list"], ["status", "u"], ["watch", "u"], ["submit", "--builder", "b"]):
        done = run(*command)
        assert not {"\x1b", "\x07", "\u202e"} & set(done.stdout + done.stderr), command
        assert "\\x1b]0;pwned" in done.stdout


@pytest.mark.parametrize("verb", ["status", "watch", "cancel", "list", "submit"])
@pytest.mark.parametrize(
    "document",
    [
        {"uuid": 1},
        {"uuid": 1, "url": [], "result": {}, "state": None},
        {**ended(), "attempts": 5},
        {**ended(), "attempts": [1]},
        {**ended(), "result": "of next year"},
        {"result": None, "state": {}, "uuid": "u"},
    ],
)
def test_a_document_of_another_kind_is_no_mistake_of_the_command(
    serve: Any, verb: str, document: dict[str, Any]
) -> None:
    serve(document, ended())
    words = {"list": [], "submit": ["--builder", "b"]}.get(verb, ["u"])

    result = run(verb, *words)

    assert isinstance(result.exception, SystemExit | None)
    assert "not foreseen" not in result.output
    assert result.exit_code == 0 or "no job API of this version" in result.stderr
