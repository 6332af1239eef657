# SPDX-License-Identifier: GPL-2.0-only
"""What lists of jobs can be asked for, and what is refused rather than guessed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.jobs.listing import Filters
from latent_libvirt.jobs.web.problems import RefusedError

ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
A_TIME = "must be a time like 2026-01-31T08:00:00Z or 2026-01-31T09:00:00+01:00"


def refused(**arguments: str) -> str:
    with pytest.raises(RefusedError) as raised:
        Filters.parse({name: [value] for name, value in arguments.items()})
    assert raised.value.status == 400
    assert raised.value.details is not None
    return raised.value.details


@pytest.mark.parametrize("limit", ["", "1_0", "+5", " 5", "5.0", "1e1", "007", "\u0663"])
def test_a_limit_is_a_whole_number(limit: str) -> None:
    assert refused(limit=limit) == "limit: must be a whole number"


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("time", ["", "0", "1e3", "2026-01-31", "2026-01-31T08:00:00"])
def test_a_time_is_one_of_rfc_3339(name: str, time: str) -> None:
    assert refused(**{name: time}) == f"{name}: {A_TIME}"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("limit", "0", "must be at least 1"),
        ("limit", "501", "must be at most 500"),
        ("cursor", "\u0663", "must be the 'next' of another page"),
        ("state", "x", "must be 'unfinished', 'waiting', 'running' or 'finished'"),
        ("builder", "x" * 257, "must have at most 256 characters"),
        ("token", "a\0b", "must not contain a NUL character"),
        ("colour", "red", "there is no such argument"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_plain_words(
    name: str, value: str, why: str
) -> None:
    assert refused(**{name: value}) == f"{name}: {why}"


def test_a_name_that_nobody_knows_is_not_repeated_in_full() -> None:
    assert len(refused(**{"x" * 10_000: "1"})) < 200


@given(st.datetimes(timezones=ZONES))
def test_the_next_page_asks_for_the_same(since: datetime) -> None:
    written = since.isoformat()
    filters = Filters.parse({"since": [written], "limit": ["7"], "property": ["a=1"]})

    again = Filters.parse({name: [value] for name, value in filters.for_next_page.items()})

    assert again == filters
    assert set(filters.for_next_page) == {"since", "limit", "property"}
