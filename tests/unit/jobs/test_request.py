# SPDX-License-Identifier: GPL-2.0-only
"""What may be asked for, and when two requests are the same."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latent_libvirt.jobs import reserved
from latent_libvirt.jobs.request import LABEL, JobRequest, Patch, SourceStamp, parse
from latent_libvirt.jobs.web.problems import RefusedError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
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
        ({"uuid": 1}, "#/uuid"),
        ({"uuid": "0f1c2d3e4f504a618b729c83ad94be0"}, "#/uuid"),
        ({"uuid": "urn:uuid:0f1c2d3e-4f50-4a61-8b72-9c83ad94be05"}, "#/uuid"),
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
        ({"callback_url": "http://example:/"}, "#/callback_url"),
        ({"callback_url": "http://a..example/"}, "#/callback_url"),
        ({"callback_url": "http://a%2f.example/"}, "#/callback_url"),
        ({"callback_url": "http://[::1%25eth0]/"}, "#/callback_url"),
        ({"callback_url": "http://evil\u2100.example/"}, "#/callback_url"),
        ({"properties": {"label": ["debian"]}}, "#/properties"),
        ({"properties": {"label": ""}}, "#/properties"),
        ({"properties": {"label": "a\0b"}}, "#/properties/label"),
        ({"properties": {"label": "x" * 257}}, "#/properties"),
        ({"properties": {"label": "fedora"}, "label": "debian"}, "#"),
        ({"properties": {"vm_/~": "x"}}, "#/properties/vm_~1~0"),
        ({"properties": {"a\nb": "x"}}, "#/properties/a\nb"),
        ({"properties": {"word": "a\0b"}}, "#/properties/word"),
        ({"properties": {"word": [1, {"x": ["\0"]}]}}, "#/properties/word"),
        ({"properties": {"word": {"x\0": 1}}}, "#/properties/word"),
        ({"sourcestamps": [{"codebase": "a"}, {"codebase": "a"}]}, "#"),
    ],
)
def test_a_fault_is_pointed_at(fault: dict[str, Any], pointer: str) -> None:
    error = refused({"builder": "check"} | fault)
    assert error.status == 422
    assert [each["pointer"] for each in error.document["errors"]] == [pointer]


WORDS: dict[str, dict[Any, str]] = {
    "builder": {"": "must not be empty", "x" * 257: "must have at most 256 characters"},
    "reason": {1: "must be text", "a\0": "must not contain a NUL character"},
    "priority": {"1": "must be a whole number", 2**31: "must be at most 2147483647"},
    "uuid": {"no": "must be a UUID like 0f1c2d3e-4f50-4a61-8b72-9c83ad94be05"},
    "surprise": {1: "there is no such member"},
}


@pytest.mark.parametrize(
    ("member", "value", "said"),
    [(member, value, said) for member, each in WORDS.items() for value, said in each.items()],
)
def test_a_fault_is_said_in_plain_words(member: str, value: object, said: str) -> None:
    error = refused({"builder": "check"} | {member: value})
    assert [each["detail"] for each in error.document["errors"]] == [said]
    assert error.document["detail"] == f"#/{member}: {said}"


MEMBERS = st.sampled_from(sorted(JobRequest.model_fields))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(0, 1) | st.text("a\0é"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*SourceStamp.model_fields, *Patch.model_fields, "x"]), inner
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(MEMBERS | st.text("x", max_size=2), ANYTHING))
@settings(deadline=None)
def test_no_refusal_has_the_words_of_a_library(body: dict[str, Any]) -> None:
    try:
        parse(json.dumps(body).encode())
    except RefusedError as error:
        said = error.document["detail"]
    else:
        return
    assert not re.search("[Ii]nput|should|[Ii]tem|valid|Extra|required|Value|List|Dict", said)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\xef\xbb\xbf{}", "it begins with a byte order mark."),
        (b'{"\xff"}', "it is no UTF-8 at byte 3."),
    ],
)
def test_what_no_decoder_takes_is_said_in_plain_words(body: bytes, why: str) -> None:
    assert refused(body).details == why


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
