# SPDX-License-Identifier: GPL-2.0-only
"""What is told of a job."""

from __future__ import annotations

import json
from dataclasses import replace

from job_records import JOB, UUID, WHERE, attempt, claimed, preparation, step
from latent_libvirt.jobs.document import full
from latent_libvirt.jobs.queries import Callback, Link
from latent_libvirt.jobs.web.page import render


def test_every_phase_of_an_attempt_is_told_with_its_seconds() -> None:
    (found,) = full(claimed(attempt(preparation(0), step())), WHERE, 1010)["attempts"]
    assert found["seconds"] == {"starting": 1, "running": 7}
    assert (found["host"], found["vm"]) == ("alpha", "latent-libvirt-1")
    assert found["ready_at"] == "1970-01-01T00:16:43Z"


def test_the_phases_of_a_vm_and_the_links_of_a_step_are_told() -> None:
    with_link = replace(step(), links=(Link("package", "https://ci.example/x.deb"),))
    phases = {"boot": 3.2, "attach": 0.5}
    with_phases = replace(attempt(with_link), vm={"vm_host": "alpha", "vm_phases": phases})

    (found,) = full(claimed(with_phases), WHERE, 1010)["attempts"]

    assert list(found["phases"].items()) == [("boot", 3.2), ("attach", 0.5)]
    assert found["steps"][0]["links"] == [{"name": "package", "url": "https://ci.example/x.deb"}]
    assert full(claimed(attempt()), WHERE, 1010)["attempts"][0]["phases"] == {}


def test_links_lead_to_buildbot_whichever_master_ran_it() -> None:
    document = full(claimed(attempt(step())), WHERE, 1010)
    (found,) = document["attempts"]
    assert document["url"] == f"https://ci.example/jobs/{UUID}"
    assert found["url"] == "https://ci.example/#/builders/3/builds/5"
    (log,) = found["steps"][0]["logs"]
    assert log["url"] == "https://ci.example/#/builders/3/builds/5/steps/1/logs/stdio"
    assert log["raw_url"] == "https://ci.example/api/v2/logs/7/raw"


def test_hidden_steps_are_not_shown() -> None:
    (found,) = full(claimed(attempt(step(hidden=True))), WHERE, 1010)["attempts"]
    assert found["steps"] == []


def test_what_became_of_a_callback_is_told_but_not_its_url() -> None:
    states = {
        "pending": Callback(0, 0, None, None),
        "done": Callback(None, 1, 1020, None),
        "given up": Callback(None, 9, None, "500"),
    }
    for state, callback in states.items():
        document = full(replace(JOB, callback=callback), WHERE, 1030)
        assert document["callback"] is not None
        assert document["callback"]["state"] == state
    assert full(replace(JOB, callback=None), WHERE, 1030)["callback"] is None


def test_a_document_is_json() -> None:
    job = replace(claimed(attempt(preparation(0), step())), properties={"a": [1, None]})
    assert json.loads(json.dumps(full(job, WHERE, 1010)))["properties"] == {"a": [1, None]}


def test_a_page_refreshes_itself_until_the_job_has_ended() -> None:
    running = full(claimed(attempt(preparation(0), step())), WHERE, 1010)
    ended = full(replace(JOB, finished_at=1020, result=0), WHERE, 1030)
    assert 'http-equiv="refresh"' in render(running)
    assert 'http-equiv="refresh"' not in render(ended)


def test_nothing_that_a_client_says_becomes_part_of_a_page() -> None:
    page = render(full(replace(JOB, reason="<script>alert(1)</script>"), WHERE, 1010))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
