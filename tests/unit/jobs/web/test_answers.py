# SPDX-License-Identifier: GPL-2.0-only
"""What a client likes best."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.web.test.requesthelper import DummyRequest

from latent_libvirt.jobs.web.answers import (
    as_json,
    media_type,
    prefers_html,
)

FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (FIREFOX, True),
        ("text/html", True),
        ("text/*", True),
        ("TEXT/HTML;q=0.5", True),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("application/json;q=0.4, text/html;q=0.5", True),
        ("text/html;q=0, */*", False),
        ("text/html;q=much", False),
    ],
)
def test_browsers_get_a_page_and_programs_json(accept: str, *, html: bool) -> None:
    assert prefers_html(accept) is html


@given(st.text())
@settings(deadline=None)
def test_any_header_is_understood_somehow(text: str) -> None:
    assert prefers_html(text) in (True, False)


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_a_media_type_is_what_comes_before_its_parameters(kind: str) -> None:
    assert media_type(kind) == "application/json"
    assert media_type("") == ""


@pytest.mark.parametrize(("status", "phrase"), [(422, "Unprocessable Entity"), (201, "Created")])
def test_the_line_of_a_status_has_its_name(status: int, phrase: str) -> None:
    """Twisted's own request for tests stands for one of its server."""
    request: Any = DummyRequest([b"jobs"])
    request._disconnected = False

    as_json({}, status=status).send(request)

    assert request.responseMessage == phrase.encode()
