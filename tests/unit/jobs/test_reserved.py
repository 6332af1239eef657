# SPDX-License-Identifier: GPL-2.0-only
"""Properties that no client may choose."""

from __future__ import annotations

import ast
import inspect
import json
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from buildbot.process import build as build_module
from buildbot.process import builder as builder_module
from buildbot.process.properties import Properties
from buildbot.worker import base as worker_module

from latent_libvirt.jobs import reserved
from latent_libvirt.jobs.request import parse
from latent_libvirt.jobs.web.problems import RefusedError

INTERPRETED = [
    "virtual_builder_name",
    "virtual_builder_tags",
    "virtual_builder_project",
    "virtual_builder_description",
    "virtual_builder_of_some_later_version",
    "owner",
    "owners",
    "workername",
    "buildername",
    "builderid",
    "buildnumber",
    "scheduler",
    "branch",
    "revision",
    "got_revision",
    "repository",
    "project",
    "codebase",
    "reason",
    "builddir",
    "basedir",
    "warnings-count",
    "vm_host",
    "vm_anything",
    "job_uuid",
    "job_url",
    "job_anything",
]


@pytest.mark.parametrize("name", INTERPRETED)
@pytest.mark.parametrize("value", ["x", 1, None, True, [], ["x", {}], {"a": 1}])
def test_what_somebody_interprets_is_refused_and_pointed_at(name: str, value: Any) -> None:
    body = {"builder": "check", "properties": {"word": "hello", name: value}}
    with pytest.raises(RefusedError) as raised:
        parse(json.dumps(body).encode())
    document = raised.value.document
    assert document["status"] == 422
    assert [error["pointer"] for error in document["errors"]] == [f"#/properties/{name}"]
    assert repr(name) in document["errors"][0]["detail"]


def test_each_is_pointed_at() -> None:
    body = {"builder": "check", "properties": dict.fromkeys(INTERPRETED, 1)}
    with pytest.raises(RefusedError) as raised:
        parse(json.dumps(body).encode())
    pointers = {error["pointer"] for error in raised.value.document["errors"]}
    assert pointers == {f"#/properties/{name}" for name in INTERPRETED}


@pytest.mark.parametrize("name", ["word", "jobs", "package", "vm", "Owner", "virtual", "x" * 256])
def test_what_nobody_interprets_is_a_clients(name: str) -> None:
    body = {"builder": "check", "properties": {name: 1}}
    assert parse(json.dumps(body).encode()).properties == {name: 1}


@pytest.mark.parametrize(
    "name", ["", "x" * 257, "a\nb", "\x1b[2J", "\u202egpj.exe", "\x7f", "a\u2028"]
)
def test_a_name_that_spoils_a_line_or_a_table_is_refused(name: str) -> None:
    body = {"builder": "check", "properties": {name: 1}}
    with pytest.raises(RefusedError) as raised:
        parse(json.dumps(body).encode())
    assert raised.value.status == 422


@pytest.mark.parametrize("module", [build_module, builder_module, worker_module])
def test_all_that_buildbots_core_sets_of_a_build_is_known(module: ModuleType) -> None:
    of_workers = {"version"}  # of what a worker says of itself, not of a build
    names = set(_names_set_in(module)) - of_workers
    assert names
    assert {name for name in names if reserved.whose(name) is None} == set()


def _names_set_in(module: ModuleType) -> list[str]:
    """Return the literal names that the module's ``setProperty`` calls have."""
    calls = [n for n in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(n, ast.Call)]
    return [
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "setProperty"
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    ]


def test_what_the_configuration_sets_of_a_builders_builds_is_known() -> None:
    config = SimpleNamespace(
        builders=[
            SimpleNamespace(name="check", workernames=["w1"], properties={"suite": "bookworm"}),
            SimpleNamespace(name="other", workernames=["w2"], properties={"else": 1}),
        ],
        workers=[
            SimpleNamespace(workername="w1", properties=Properties(arch="amd64")),
            SimpleNamespace(workername="w2", properties=Properties(gpu=True)),
        ],
    )
    assert reserved.configured(config, "check") == {"suite", "arch"}
    assert reserved.configured(config, "elsewhere") == frozenset()
