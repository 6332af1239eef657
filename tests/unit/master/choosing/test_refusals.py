# SPDX-License-Identifier: GPL-2.0-only
"""Which requests are taken for refused, since one like them was."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.master.choosing.refusals import Refusals

NAMES = ("label", "release", "who")

sets_of_requests = st.lists(
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["1", "2", "null"])), min_size=1
)


def _values(sets: list[dict[str, str]], names: list[str]) -> dict[str, Mapping[int, str]]:
    return {
        name: {number: values[name] for number, values in enumerate(sets) if name in values}
        for name in names
    }


@given(sets_of_requests, st.lists(st.tuples(st.integers(0, 9), st.sets(st.sampled_from(NAMES)))))
def test_a_request_is_covered_if_one_with_the_same_values_of_all_that_was_read_was_refused(
    sets: list[dict[str, str]], refused: list[tuple[int, set[str]]]
) -> None:
    refusals = Refusals()
    of_those_there = [(number, read) for number, read in refused if number < len(sets)]
    for number, read in of_those_there:
        refusals.learn(_values(sets, refusals.unknown(read)))
        refusals.add(number, read)

    for number, values in enumerate(sets):
        expected = any(
            all(values.get(name) == sets[other].get(name) for name in read)
            for other, read in of_those_there
        )
        assert refusals.cover(number) == expected


def test_a_refusal_for_which_nothing_was_read_is_one_of_all() -> None:
    refusals = Refusals()
    refusals.add(1, ())

    assert refusals.cover(2)
