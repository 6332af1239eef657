# SPDX-License-Identifier: GPL-2.0-only
"""The statement about a build, as in-toto and SLSA have it."""

from __future__ import annotations

import hashlib

from latent_libvirt.host.proxy.record import Fetch
from latent_libvirt.host.proxy.statement import About, statement

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
    image, one, two, three = definition["resolvedDependencies"]
    assert image == {"name": "image", "digest": {"sha256": "a" * 64}}
    assert (one["uri"], one["digest"]) == ("http://a.example/f", {"sha256": "b" * 64})
    assert "digest" not in two
    assert (two["annotations"]["bytesReceived"], two["annotations"]["bytesSent"]) == (9, 7)
    assert (three["annotations"]["status"], three["annotations"]["why"]) == (403, "not allowed")
    assert made["predicate"]["runDetails"]["metadata"]["invocationId"] == ABOUT.url


def test_a_volume_has_no_digest() -> None:
    about = About("check", 12, "http://master/", "small", "mine.qcow2", "cold")
    (image,) = statement(about, [], left_out=3, log="")["predicate"]["buildDefinition"][
        "resolvedDependencies"
    ]
    assert image == {"name": "image", "annotations": {"volume": "mine.qcow2"}}
