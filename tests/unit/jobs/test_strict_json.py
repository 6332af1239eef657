# SPDX-License-Identifier: GPL-2.0-only
"""JSON that everybody reads alike, and what is no such JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latent_libvirt.jobs.strict_json import BoundError, MeaningError, NoJsonError, dumps, loads

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
@settings(deadline=None)
def test_what_is_written_is_read_as_the_same(value: Any) -> None:
    assert loads(dumps(value).encode()) == value


@pytest.mark.parametrize(
    "text",
    ["1e400", "-1e400", "1e-400", "0e99999999999999999999", "1e-99999999999999999999",
     "9007199254740993", "1" * 60, "0.12345678901234567890123",
     '{"a": 1, "a": 1}', '{"a": {"b": 1, "c": 2, "b": 3}}'],
)  # fmt: skip
def test_what_not_every_program_reads_alike_is_refused(text: str) -> None:
    with pytest.raises(MeaningError):
        loads(text.encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"NaN", b"[Infinity]", b"-Infinity", b"\xff", b'"\xc3"', b'"\\ud800"',
     b'{"\\udfff": 1}', b"[1,]", b"'a'", b"01", b"\xef\xbb\xbf{}", "{}".encode("utf-16"),
     b"[" * 2**20, b'{"a":' * 2**17, b'"' * 2**20, b'"' + b'\\"' * 2**19],
)  # fmt: skip
def test_what_is_no_json_is_refused_as_such(data: bytes) -> None:
    with pytest.raises(NoJsonError):
        loads(data)


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b"{}," * 340_000 + b"{}]",
        b'{"a":' * 170_000 + b"{}" + b"}" * 170_000,
        b"[" * 2**19 + b"]" * 2**19,
        b"[" + b"1" * 2**20 + b"]",
        b"[" + b'"",' * 300_000 + b'""]',
        b"{" + b'"":1,' * 200_000 + b'"":1}',
    ],
)
def test_what_is_too_much_is_refused_before_anything_is_made_of_it(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(json, "loads", lambda text, **_hooks: parsed.append(text))
    with pytest.raises(BoundError):
        loads(data)
    assert not parsed


def test_an_object_has_so_many_members_and_no_more() -> None:
    members = {str(n): n for n in range(1001)}
    with pytest.raises(BoundError):
        loads(json.dumps(members).encode())
    members.popitem()
    assert loads(json.dumps(members).encode()) == members


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    try:
        found = loads(data)
    except ValueError:
        return
    assert json.loads(data) == found


def test_what_the_database_has_from_before_is_written_as_json() -> None:
    written = dumps({"a": math.inf, "b": [math.nan, -math.inf, 1.5], "c": {"d": (1, math.inf)}})
    assert loads(written.encode()) == {"a": None, "b": [None, None, 1.5], "c": {"d": [1, None]}}
