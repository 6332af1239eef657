# SPDX-License-Identifier: GPL-2.0-only
"""The description says what is answered."""

from __future__ import annotations

import json
import re
from typing import Any

from job_records import JOB, WHERE, attempt, claimed, preparation, step
from latent_libvirt.jobs.document import full, summary
from latent_libvirt.jobs.web.openapi import description
from latent_libvirt.jobs.web.problems import another_job

DESCRIPTION = description(WHERE)
SCHEMAS = DESCRIPTION["components"]["schemas"]


def keys(schema: str) -> set[str]:
    return set(SCHEMAS[schema]["properties"])


def test_it_has_all_that_a_document_has() -> None:
    document = full(claimed(attempt(preparation(0), step())), WHERE, 2000)
    (attempt_,) = document["attempts"]
    (_preparation, step_) = attempt_["steps"]
    assert keys("Job") == set(document)
    assert keys("Attempt") == set(attempt_)
    assert keys("Step") == set(step_)
    assert keys("Log") == set(step_["logs"][0])
    assert keys("Summary") == set(summary(JOB, WHERE, 2000))
    assert keys("Problem") <= set(another_job("x").document)


def test_every_member_and_every_argument_has_a_meaning() -> None:
    members = {
        f"{name}.{key}": schema
        for name, document in SCHEMAS.items()
        for key, schema in document.get("properties", {}).items()
    }
    arguments = {
        each["name"]: each["schema"] for each in DESCRIPTION["paths"]["/jobs"]["get"]["parameters"]
    }

    assert members
    assert [
        key for key, schema in (members | arguments).items() if "description" not in schema
    ] == []


def test_every_reference_leads_somewhere() -> None:
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DESCRIPTION)):
        assert name in SCHEMAS


def test_arguments_of_a_list_are_never_null() -> None:
    parameters: list[dict[str, Any]] = DESCRIPTION["paths"]["/jobs"]["get"]["parameters"]
    assert {p["name"] for p in parameters} >= {"builder", "state", "result", "limit", "cursor"}
    assert "null" not in json.dumps(parameters)
