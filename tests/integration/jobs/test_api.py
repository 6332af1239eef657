# SPDX-License-Identifier: GPL-2.0-only
"""The job API of a real master, from outside."""

from __future__ import annotations

import json
import urllib.request
from uuid import uuid4

import pytest

from job_masters import JobMaster, ask


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
