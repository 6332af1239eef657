# SPDX-License-Identifier: GPL-2.0-only
"""The best of many hosts, after any changes, is what a look at all of them would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.host_ranking import HostRanking

HOSTS = tuple(f"host-{number}" for number in range(6))

changes = st.lists(st.tuples(st.sampled_from(HOSTS), st.integers(0, 3)), max_size=100)


def plainly_best(hosts: tuple[str, ...], free: dict[str, int]) -> str | None:
    best = max(hosts, key=lambda host: free[host], default=None)
    return best if best is not None and free[best] else None


@given(st.lists(st.sampled_from(HOSTS), unique=True).map(tuple), changes)
def test_the_best_host_has_the_most_free_slots_and_stands_first(
    hosts: tuple[str, ...], changes: list[tuple[str, int]]
) -> None:
    free = dict.fromkeys(HOSTS, 0)
    ranking = HostRanking(hosts, free)
    assert ranking.best() is None

    for host, slots in changes:
        free[host] = slots
        if host in hosts:
            ranking.note_change(host)
        assert ranking.best() == plainly_best(hosts, free)


def test_old_entries_do_not_pile_up() -> None:
    free = {"one": 0, "two": 0}
    ranking = HostRanking(("one", "two"), free)
    for number in range(1000):
        free["one"] = number % 7
        ranking.note_change("one")

    assert len(ranking._heap) <= 8
