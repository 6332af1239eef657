# SPDX-License-Identifier: GPL-2.0-only
"""Posts that began late: whether they waited for answers, or for the harness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.stress.report.posting import answer_share

Post = tuple[float, float, float]
"""When it was to begin, how late it was, and how long it took."""


def share(*posts: Post, posters: int = 2) -> float:
    rows = [{"at": at, "late": late, "seconds": seconds} for at, late, seconds in posts]
    return answer_share(rows, posters)


def test_posts_that_are_all_in_time_say_nothing() -> None:
    assert share((0, 0, 5), (9, 0, 1)) == 1.0
    assert share() == 1.0


def test_a_mass_of_posts_waits_for_answers() -> None:
    assert share((0, 0, 1), (0, 0, 1), (0, 1, 1), (0, 1, 1)) == 1.0


def test_a_harness_that_does_not_begin_what_it_could_is_seen() -> None:
    assert share((0, 0, 1), (0, 4, 1)) == pytest.approx(1 / 8)
    assert share((0, 0, 1), (0, 1, 1)) == pytest.approx(1 / 2)


def test_answers_while_no_post_was_late_do_not_count() -> None:
    assert share((0, 0, 50), (0, 0, 50), (100, 1, 0.1), (100, 0, 0)) == 0.0


@given(st.lists(st.tuples(*[st.floats(0, 100)] * 3), max_size=20), st.integers(1, 8))
def test_a_share_is_one(posts: list[Post], posters: int) -> None:
    assert 0.0 <= share(*posts, posters=posters) <= 1.0
