# SPDX-License-Identifier: GPL-2.0-only
"""The statement about a build, as in-toto and SLSA have it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from latent_libvirt.host.proxy.record import Fetch
from latent_libvirt.host.proxy.statement import About, statement
from slsa import Statement

ABOUT = About("check", 12, "http://master/#/builders/1/builds/12", "small", "a" * 64, "spare")


def test_a_statement_has_the_image_and_what_was_fetched() -> None:
    file = Fetch("GET", "http://a.example/f", 200, "192.0.2.1", received=5, sha256="b" * 64)
    tunnel = Fetch("CONNECT", "a.example:443", 200, "192.0.2.1", received=9, sent=7)
    refused = Fetch("GET", "http://b.example/", 403, why="not allowed")

    made = statement(ABOUT, [file, tunnel, refused], left_out=0, log="the log")

    assert made["_type"] == "https://in-toto.io/Statement/v1"
    assert made["subject"] == [
        {"name": "network", "digest": {"sha256": hashlib.sha256(b"the log").hexdigest()}}
    ]
    definition = made["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {"builder": "check", "number": 12}
    image, one, two = definition["resolvedDependencies"]
    log, three = made["predicate"]["runDetails"]["byproducts"]
    assert image == {"name": "image", "digest": {"sha256": "a" * 64}}
    assert (one["uri"], one["digest"]) == ("http://a.example/f", {"sha256": "b" * 64})
    assert (two["uri"], "digest" in two) == ("tcp://a.example:443", False)
    assert (two["annotations"]["bytesReceived"], two["annotations"]["bytesSent"]) == (9, 7)
    assert (log["digest"], log["annotations"]) == (
        made["subject"][0]["digest"],
        {"fetchesNotListed": 0},
    )
    assert (three["annotations"]["status"], three["annotations"]["why"]) == (403, "not allowed")
    assert made["predicate"]["runDetails"]["metadata"]["invocationId"] == ABOUT.url


def test_a_volume_has_no_digest() -> None:
    about = About("check", 12, "http://master/", "small", "mine disk.qcow2", "cold")
    (image,) = statement(about, [], left_out=3, log="")["predicate"]["buildDefinition"][
        "resolvedDependencies"
    ]
    assert image == {"name": "image", "uri": "volume:mine%20disk.qcow2"}


fetches = st.builds(
    Fetch,
    method=st.sampled_from(["GET", "CONNECT", "?"]) | st.text(),
    target=st.text() | st.text().map(lambda path: f"http://a.example/{path}"),
    status=st.integers(0, 999),
    address=st.sampled_from(["", "192.0.2.1", "2001:db8::1"]),
    received=st.integers(0, 2**60),
    sha256=st.sampled_from(["", "b" * 64]),
    why=st.sampled_from(["", "not allowed"]),
)


@given(st.lists(fetches, max_size=5), st.sampled_from(["a" * 64, "a disk%.qcow2"]))
def test_a_statement_keeps_to_the_schema_whatever_guests_have_asked_for(
    found: list[Fetch], image: str
) -> None:
    about = About("check", 12, "http://master/#/builders/1/builds/12", "small", image, "cold")
    Statement.model_validate_json(json.dumps(statement(about, found, left_out=3, log="the log")))


def without(key: str) -> Any:
    return lambda part: part.pop(key)


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("runDetails", lambda part: part["byproducts"].append({"name": "a", "content": 3})),
        ("runDetails", lambda part: part["byproducts"].append({"name": "a"})),
        ("runDetails", lambda part: part["byproducts"].append({"uri": "a b"})),
        ("runDetails", lambda part: part.update(extra=1)),
        ("runDetails", without("builder")),
        ("buildDefinition", without("externalParameters")),
    ],
)
def test_the_schema_finds_what_is_wrong(place: str, change: Any) -> None:
    made = statement(ABOUT, [], left_out=0, log="")
    change(made["predicate"][place])
    with pytest.raises(ValidationError):
        Statement.model_validate_json(json.dumps(made))
