# SPDX-License-Identifier: GPL-2.0-only
"""Moments that options name, by the clock of this machine unless they have a zone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import click
import pytest

from latent_libvirt.cli.master import clock_time, moment


@pytest.fixture(autouse=True)
def _in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-30", "2026-11-29T23:00:00+00:00"),
        ("2026-07-01", "2026-06-30T22:00:00+00:00"),
        ("2026-11-30T08:30", "2026-11-30T07:30:00+00:00"),
        ("2026-11-30 08:30:15", "2026-11-30T07:30:15+00:00"),
        ("2026-11-30T08:30Z", "2026-11-30T08:30:00+00:00"),
        ("2026-11-30T08:30:00-05:00", "2026-11-30T13:30:00+00:00"),
        ("99999d", "1970-01-01T00:00:00+00:00"),
    ],
)
def test_a_time_without_a_zone_is_by_the_clock_of_this_machine(text: str, wanted: str) -> None:
    assert moment(text).astimezone(UTC).isoformat() == wanted


def test_a_duration_counts_back_from_now() -> None:
    before = datetime.now(UTC)
    found = moment("1d12h")

    assert 0 <= (found - before).total_seconds() + 36 * 3600 <= 60


def test_a_moment_is_shown_with_the_zone_that_it_was_read_in() -> None:
    assert clock_time(moment("2026-11-30")) == "2026-11-30 00:00:00+01:00"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("yesterday", "'yesterday' is no time."),
        ("", "'' is no time."),
        ("20261130", "'20261130' is no time."),
        ("2026-W48-1", "'2026-W48-1' is no time."),
        ("2026-11-30T08", "'2026-11-30T08' is no time."),
        ("\u0662\u0660\u0662\u0666-11-30", " is no time."),
        ("2026-11-31", "'2026-11-31' is in no calendar"),
        ("2026-11-30T24:01", "'2026-11-30T24:01' is in no calendar, or on no clock"),
        ("0001-01-01", "'0001-01-01' is in no calendar"),
        ("3dd", "use d, h, m and s"),
        ("2h3d", "write days, hours, minutes and seconds with their units"),
    ],
)
def test_what_is_no_moment_is_named_with_how_to_write_one(text: str, why: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        moment(text)

    assert why in caught.value.message
    assert "Write a date like 2026-11-01, a time like 2026-11-01T08:30" in caught.value.message
