# SPDX-License-Identifier: GPL-2.0-only
"""Values that are written in one way, and all that Python would take as well."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.plain_text.strict_values import decimal_number, moment, uuid, whole_number

WRITTEN = "0f1c2d3e-4f50-4a61-8b72-9c83ad94be05"
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_a_whole_number_is_read_as_it_is_written(number: int) -> None:
    assert whole_number(str(number)) == number


@given(st.datetimes(timezones=ZONES))
def test_a_time_is_read_as_it_is_written(at: datetime) -> None:
    assert moment(at.isoformat()) == at


@given(st.uuids())
def test_a_uuid_is_read_however_its_letters_are_written(number: UUID) -> None:
    assert uuid(str(number)) == uuid(str(number).upper()) == uuid(number.hex) == number


def test_a_time_may_be_that_of_greenwich_and_have_a_fraction() -> None:
    assert moment("2026-01-31T08:00:00Z") == datetime(2026, 1, 31, 8, tzinfo=UTC)
    assert moment("2026-01-31t08:00:00.123456789z").microsecond == 123456


def test_a_number_may_have_a_fraction() -> None:
    assert [decimal_number(text) for text in ("0", "10", "2.5")] == [0, 10, 2.5]


OTHERWISE = ["", " 1", "1 ", "1\n", "+1", "1_0", "\u0663", "\uff11", "1e1", "0x1", "x"]
OF_WHOLE_NUMBERS = [*OTHERWISE, "01", "1.0", "-0", "--1", "9" * 19, "9" * 5000]
OF_NUMBERS = [*OTHERWISE, "-1", ".5", "1.", "nan", "inf", "1" * 5000]
OF_TIMES = [
    "",
    "0",
    "1e3",
    "2026-01-31",
    "2026-01-31T08:00:00",
    "2026-01-31T08:00Z",
    "2026-01-31 08:00:00Z",
    "2026-01-31T08:00:00 01:00",
    "20260131T080000Z",
    "2026-W05-6T08:00:00Z",
    "2026-02-30T08:00:00Z",
    "2026-01-31T24:00:00Z",
    "2026-01-31T08:00:60Z",
    "2026-01-31T08:00:00+24:00",
    "2026-01-31T08:00:00+01",
    "0000-01-31T08:00:00Z",
    "\u0662026-01-31T08:00:00Z",
    "2026-01-31T08:00:00Z\n",
]
OF_UUIDS = [
    "",
    f"{{{WRITTEN}}}",
    f"urn:uuid:{WRITTEN}",
    f" {WRITTEN}",
    f"{WRITTEN}\n",
    WRITTEN.replace("-", "", 1),
    WRITTEN.replace("0f", "_0"),
    WRITTEN.replace("0f", "\u0660f"),
    "0x" + WRITTEN[2:],
]


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read, text)
        for read, texts in {
            whole_number: OF_WHOLE_NUMBERS,
            decimal_number: OF_NUMBERS,
            moment: OF_TIMES,
            uuid: OF_UUIDS,
        }.items()
        for text in texts
    ],
)
def test_whatever_is_written_otherwise_is_refused(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match="must be a"):
        read(text)


@pytest.mark.parametrize("read", [whole_number, decimal_number, moment, uuid])
@given(text=st.text())
def test_whatever_is_written_is_read_or_refused(read: Callable[[str], object], text: str) -> None:
    try:
        found = read(text)
    except ValueError as error:
        said = str(error)
    else:
        assert found is not None
        return
    assert said.startswith("must be a")
