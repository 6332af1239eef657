# SPDX-License-Identifier: GPL-2.0-only
"""Jobs on a target that answers with what no job API says.

Its server is a fake: no job API of ours answers so.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from latent_libvirt.jobs.client import JobError
from latent_libvirt.stress.target.posted import PostedJobs

SOON = 0.02
"""Seconds in which a server notices that it is to end."""

GOOD = {"uuid": "u", "build_request": 7, "token": "stress"}


@contextmanager
def answering(document: Any) -> Iterator[str]:
    """Answer everything with a document; yield the URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[SOON], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/jobs"
        server.shutdown()


@pytest.mark.parametrize(
    "document", [{"uuid": "u"}, GOOD | {"build_request": None}, GOOD | {"build_request": "x"}]
)
def test_a_job_without_a_request_is_an_error_of_the_target(tmp_path: Path, document: Any) -> None:
    with answering(document) as url:
        jobs = PostedJobs(url, "secret", tmp_path / "uuids.jsonl")

        with pytest.raises(JobError, match="no document of a job"):
            jobs.submit({"uuid": str(uuid4()), "builder": "check"})


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"finished_at": 3, "accepted_at": "x"},
        {"finished_at": "2026-01-01T00:00:00Z", "accepted_at": "2026-01-01T00:00:00Z"},
    ],
)
def test_a_list_of_what_are_no_jobs_is_an_error_of_the_target(
    tmp_path: Path, job: dict[str, Any]
) -> None:
    uuid = str(uuid4())
    with answering(GOOD | {"jobs": [job | {"uuid": uuid}]}) as url:
        jobs = PostedJobs(url, "secret", tmp_path / "uuids.jsonl")
        jobs.submit({"uuid": uuid, "builder": "check"})

        with pytest.raises(JobError, match="no document of a job"):
            jobs.outcomes()


def test_a_job_that_says_nothing_of_its_attempts_is_an_error_of_the_target(tmp_path: Path) -> None:
    with answering(GOOD) as url:
        jobs = PostedJobs(url, "secret", tmp_path / "uuids.jsonl")
        jobs.submit({"uuid": str(uuid4()), "builder": "check"})

        with pytest.raises(JobError, match="no document of a job"):
            jobs.starts()
