# SPDX-License-Identifier: GPL-2.0-only
"""What may be asked for, and when two requests are the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latent_libvirt.jobs import reserved
from latent_libvirt.jobs.request import LABEL, JobRequest, parse
from latent_libvirt.jobs.web.problems import RefusedError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)
# The label has to be text, and hypothesis knows the words of the sources.
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
    lambda name: name.isprintable() and reserved.whose(name) is None and name != LABEL
)


def refused(body: bytes | dict[str, Any]) -> RefusedError:
    with pytest.raises(RefusedError) as raised:
        parse(body if isinstance(body, bytes) else json.dumps(body).encode())
    return raised.value


@given(st.dictionaries(NAMES, VALUES, max_size=4))
@settings(deadline=None)
def test_properties_arrive_as_they_were_sent(properties: dict[str, Any]) -> None:
    body = json.dumps({"builder": "check", "properties": properties}).encode()
    assert parse(body).properties == properties


@given(st.binary(max_size=50))
@settings(deadline=None)
def test_whatever_is_sent_is_taken_or_refused(body: bytes) -> None:
    try:
        request = parse(body)
    except RefusedError as error:
        refused = error
    else:
        assert request.builder or request.label
        return
    assert refused.status in (400, 422)


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.uuids(), st.uuids())
@settings(deadline=None)
def test_the_same_content_has_the_same_digest_whatever_its_order(
    properties: dict[str, Any], one: Any, other: Any
) -> None:
    body = {"builder": "check", "properties": properties, "uuid": str(one)}
    turned = {
        "uuid": str(other),
        "properties": dict(reversed(properties.items())),
        "builder": "check",
        "priority": 0,
    }
    first, second = (parse(json.dumps(each).encode()) for each in (body, turned))
    assert first.digest == second.digest


@pytest.mark.parametrize(
    "change",
    [
        {"builder": "other"},
        {"label": "debian"},
        {"properties": {"a": "1"}},
        {"properties": {"a": True}},
        {"priority": 1},
        {"reason": "another"},
        {"sourcestamps": [{"branch": "main"}]},
    ],
)
def test_other_content_has_another_digest(change: dict[str, Any]) -> None:
    original = {"builder": "check", "properties": {"a": 1}}
    first, second = (
        JobRequest.model_validate_json(json.dumps(each)) for each in (original, original | change)
    )
    assert first.digest != second.digest


@pytest.mark.parametrize(
    ("fault", "pointer"),
    [
        ({"builder": ""}, "#/builder"),
        ({"builder": 1}, "#/builder"),
        ({"builder": "a\0b"}, "#/builder"),
        ({"surprise": 1}, "#/surprise"),
        ({"uuid": "no"}, "#/uuid"),
        ({"priority": 2**31}, "#/priority"),
        ({"priority": "1"}, "#/priority"),
        ({"reason": "x" * 257}, "#/reason"),
        ({"sourcestamps": []}, "#/sourcestamps"),
        ({"sourcestamps": [{"branch": "x" * 257}]}, "#/sourcestamps/0/branch"),
        ({"callback_url": "ftp://example"}, "#/callback_url"),
        ({"callback_url": "http://user:secret@example/"}, "#/callback_url"),
        ({"callback_url": "http://example:99999/"}, "#/callback_url"),
        ({"callback_url": "http://example:x/"}, "#/callback_url"),
        ({"callback_url": "http://example:0/"}, "#/callback_url"),
        ({"callback_url": "http://example/\r\nHost: other"}, "#/callback_url"),
        ({"callback_url": "http://exam ple/"}, "#/callback_url"),
        ({"properties": {"job_url": "x"}}, "#/properties/job_url"),
        ({"properties": {"label": ["debian"]}}, "#/properties"),
        ({"properties": {"label": "fedora"}, "label": "debian"}, "#"),
        ({"properties": {"vm_/~": "x"}}, "#/properties/vm_~1~0"),
        ({"properties": {"a\nb": "x"}}, "#/properties/a\nb"),
        ({"sourcestamps": [{"codebase": "a"}, {"codebase": "a"}]}, "#"),
    ],
)
def test_a_fault_is_pointed_at(fault: dict[str, Any], pointer: str) -> None:
    error = refused({"builder": "check"} | fault)
    assert error.status == 422
    assert [each["pointer"] for each in error.document["errors"]] == [pointer]


def test_a_builder_or_a_label_is_needed() -> None:
    assert refused({}).status == 422
    assert parse(b'{"label": "debian-12"}').label == "debian-12"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"builder": Infinity}', b"[" * 10**5, b'{"a": "\\ud800"}']
)
def test_what_is_no_json_is_refused_as_such(body: bytes) -> None:
    assert refused(body).status == 400


def test_a_patch_comes_to_buildbot_as_its_own_arguments() -> None:
    body = {"builder": "b", "sourcestamps": [{"patch": {"body": "--- a", "level": 0}}]}
    (stamp,) = parse(json.dumps(body).encode()).sourcestamps
    assert stamp.for_buildbot["patch_body"] == "--- a"
    assert stamp.for_buildbot["patch_level"] == 0
    assert "patch" not in stamp.for_buildbot


def test_a_label_is_one_whether_it_is_asked_for_as_label_or_as_property() -> None:
    for asked in ({"label": "deb"}, {"properties": {"label": "deb"}}, {}):
        request = parse(json.dumps({"builder": "check"} | asked).encode())
        assert request.wanted_label == ("deb" if asked else None)
