# SPDX-License-Identifier: GPL-2.0-only
"""The build in the record of a VM that is held or frozen."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.pool.holding import builds
from latent_libvirt.status.names import BuildRef


@given(st.text(max_size=200), st.integers(min_value=1, max_value=2**31))
def test_a_build_is_read_as_it_was_written(builder: str, number: int) -> None:
    build = BuildRef(builder, number, f"https://ci/#/builders/1/builds/{number}")

    assert builds.read(builds.written(build)) == build


def test_no_build_is_none() -> None:
    assert builds.written(None) == ""
    assert builds.read("") is None


def test_a_name_or_a_url_that_is_too_long_is_left_out() -> None:
    long = "x" * builds.LONGEST

    assert builds.read(builds.written(BuildRef("check", 7, long))) == BuildRef("check", 7, "")
    assert builds.written(BuildRef(long, 7, "")) == ""


@pytest.mark.parametrize(
    "text",
    [
        *("no json", "7", "[]", "{}", '["check", 7]', '["check", "7", ""]', '["check", true, ""]'),
        *('["check", 0, ""]', '["check", -1, ""]', "[[], 7, null]", "[" * 4000),
    ],
)
def test_what_no_master_has_written_is_no_build(text: str) -> None:
    assert builds.read(text) is None


@pytest.mark.parametrize("url", ["javascript:alert(1)", "//elsewhere", " https://ci/", "file:///x"])
def test_a_link_that_is_none_of_the_web_is_left_out(url: str) -> None:
    assert builds.read(json.dumps(["check", 7, url])) == BuildRef("check", 7, "")
