# SPDX-License-Identifier: GPL-2.0-only
"""Sizes and durations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from latent_libvirt.config.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)

anything = st.one_of(
    st.text(),
    st.from_regex(r"[0-9.]{0,4} ?[A-Za-z]{0,4}", fullmatch=True),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.text()),
)


@given(st.integers(min_value=1, max_value=2**49))
def test_a_size_is_read_as_it_was_written(kibibytes: int) -> None:
    assert parse_size(format_size(kibibytes * 1024)) == kibibytes * 1024


@given(st.integers(min_value=0, max_value=10**12))
def test_a_duration_is_read_as_it_was_written(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6, rel=0)


def refusal(parse: Callable[[object], float], text: object) -> Mapping[str, str] | None:
    """Return what is said about *text*; ``None`` if it is taken."""
    try:
        parse(text)
    except PydanticCustomError as error:
        return error.context or {}
    return None


@pytest.mark.parametrize(
    ("parse", "text", "meant"),
    [
        (parse_duration, "2 h", "2h"),
        (parse_duration, "2h 30m", "2h30m"),
        (parse_duration, " 90 s", "90s"),
        (parse_size, "2  GiB", "2GiB"),
        (parse_size, "2GiB ", "2GiB"),
    ],
)
def test_spaces_that_do_not_belong_there_are_the_mistake(
    parse: Callable[[object], float], text: str, meant: str
) -> None:
    assert refusal(parse, text) == {
        "what": f"the text {text!r} has spaces that do not belong there",
        "remedy": f"write {meant}",
        "beside": (),
    }


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (86_400, "24h"),
        (90_000, "1d1h"),
        (30 * 86_400, "30d"),
        (30 * 86_400 + 1, "30d1s"),
        (0, "0s"),
    ],
)
def test_days_are_written_above_24_hours(seconds: float, written: str) -> None:
    assert format_duration(seconds) == written


def test_a_number_with_too_many_digits_is_the_mistake_and_not_its_unit() -> None:
    text = f"{'9' * 20}d"

    assert refusal(parse_duration, text) == {
        "what": f"the text {text!r} is out of reach",
        "remedy": "write nine digits at most",
        "beside": (),
    }


@given(anything)
def test_what_is_no_size_is_refused_with_a_sentence(text: object) -> None:
    told = refusal(parse_size, text)
    good = isinstance(text, str) and re.fullmatch(SIZE_PATTERN, text)
    assert (told is None) == bool(good)
    assert good or (told is not None and told["what"] and told["remedy"])


@given(anything)
def test_what_is_no_duration_is_refused_with_a_sentence(text: object) -> None:
    told = refusal(parse_duration, text)
    good = isinstance(text, str) and re.fullmatch(DURATION_PATTERN, text)
    assert (told is None) == bool(good)
    assert good or (told is not None and told["what"] and told["remedy"])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1KiB", 1024),
        ("512MiB", 512 * 1024**2),
        ("512 MiB", 512 * 1024**2),
        ("20GiB", 20 * 1024**3),
        ("2TiB", 2 * 1024**4),
    ],
)
def test_a_size_is_a_whole_number_with_a_binary_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("2m", 120),
        ("1h30m", 5400),
        ("1h5s", 3605),
        ("0.5s", 0.5),
        ("1m0.25s", 60.25),
        ("3d", 259200),
        ("1d12h", 129600),
    ],
)
def test_a_duration_is_hours_minutes_and_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("512M", "write 512MiB"),
        ("512MB", "write 512MiB"),
        ("512mib", "write 512MiB"),
        ("20 Gi", "write 20GiB"),
        ("8 g", "write 8GiB"),
        ("1.5GiB", "write 1536MiB"),
        (512, "write 512MiB or 512GiB"),
        ("512", "write 512MiB or 512GiB"),
        ("512bits", "use KiB, MiB, GiB or TiB, like 512MiB"),
        ("lots", "write a number with its unit, like 512MiB"),
        ("-5MiB", "write a number with its unit, like 512MiB"),
        ("", "write a number with its unit, like 512MiB"),
        (True, "write a number with its unit, like 512MiB"),
    ],
)
def test_a_near_miss_of_a_size_is_told_what_would_be_right(text: object, remedy: str) -> None:
    told = refusal(parse_size, text)
    assert told is not None
    assert told["remedy"] == remedy


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (90, "write 90s or 90m"),
        ("90", "write 90s or 90m"),
        ("2 min", "write 2m"),
        ("90sec", "write 90s"),
        ("1 hour", "write 1h"),
        ("90 s", "write 90s"),
        ("1.5h", "use d, h, m and s, like 90s, 1h30m or 3d"),
        ("500ms", "use d, h, m and s, like 90s, 1h30m or 3d"),
        ("30m1h", "write days, hours, minutes and seconds with their units, like 90s, 1h30m or 3d"),
        ("1:30", "write days, hours, minutes and seconds with their units, like 90s, 1h30m or 3d"),
        ("", "write days, hours, minutes and seconds with their units, like 90s, 1h30m or 3d"),
        (None, "write days, hours, minutes and seconds with their units, like 90s, 1h30m or 3d"),
    ],
)
def test_a_near_miss_of_a_duration_is_told_what_would_be_right(text: object, remedy: str) -> None:
    told = refusal(parse_duration, text)
    assert told is not None
    assert told["remedy"] == remedy
