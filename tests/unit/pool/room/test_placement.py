# SPDX-License-Identifier: GPL-2.0-only
"""The best of many hosts, after any changes, is what a look at all of them would find."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.pool.room import host_sets
from latent_libvirt.pool.room.amounts import Left, Size
from latent_libvirt.pool.room.placement import HostRanking, Placement, _Levels

HOSTS = tuple(f"host-{number}" for number in range(6))
SIZES = (Size(0, 0), Size(1, 2), Size(2, 1), Size(3, 5))

amounts = st.integers(0, 12)
limits = st.fixed_dictionaries(
    {
        host: st.builds(
            Left, st.integers(0, 4), amounts | st.just(math.inf), amounts | st.just(math.inf)
        )
        for host in HOSTS
    }
)
changes = st.lists(
    st.tuples(st.sampled_from(HOSTS), st.integers(0, 4), st.integers(0, 14), st.integers(0, 14)),
    max_size=40,
)
groups = st.lists(st.sampled_from((*HOSTS, "unknown")), unique=True)

Question = tuple[list[str], list[str], Placement]
"""Of which hosts, without which, and by which rule."""


def fitting(left: Left, size: Size) -> int:
    """Count how many VMs of *size* fit, by trying."""
    return sum(
        count <= left.slots
        and count * size.vcpus <= left.vcpus
        and count * size.memory <= left.memory
        for count in range(1, 5)
    )


def plainly_best(
    left: dict[str, Left], group: list[str], size: Size, placement: Placement, avoid: list[str]
) -> str | None:
    roomy = [host for host in left if host in group and fitting(left[host], size)]
    roomy = [host for host in roomy if host not in avoid] or roomy
    pick = min if placement == "pack" else max
    return pick(roomy, key=lambda host: fitting(left[host], size), default=None)


@given(
    limits=limits,
    changes=changes,
    question=st.tuples(groups, groups, st.sampled_from(["spread", "pack"])),
    block=st.sampled_from([1, 2, 64]),
)
def test_the_best_host_is_what_a_look_at_all_of_them_finds(
    limits: dict[str, Left],
    changes: list[tuple[str, int, int, int]],
    question: Question,
    block: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_sets, "BLOCK", block)
        _follow(limits, changes, question)


def _follow(
    limits: dict[str, Left],
    changes: list[tuple[str, int, int, int]],
    question: Question,
) -> None:
    group, avoid, placement = question
    ranking = HostRanking(limits, SIZES)
    left = dict(limits)
    for host in HOSTS:
        ranking.note(host, left[host])
    for host, slots, vcpus, memory in changes:
        most = limits[host]
        now = Left(max(most.slots - slots, 0), most.vcpus - vcpus, most.memory - memory)
        left[host] = now
        ranking.note(host, now)
        for size in SIZES:
            expected = plainly_best(left, group, size, placement, avoid)
            assert ranking.best([ranking.group(group)], size, placement, avoid) == expected
            assert ranking.has_room([ranking.group(group)], size) == (expected is not None)
            if size != Size():
                assert ranking.best_of(group, size, placement, avoid) == expected


def test_a_host_of_which_nothing_is_known_has_no_room() -> None:
    ranking = HostRanking({"one": Left(1)}, [Size(1, 1)])

    assert ranking.best([ranking.group(["one"])], Size(1, 1), "spread") is None


def test_without_hosts_none_is_the_best() -> None:
    ranking = HostRanking({}, [Size(1, 1)])

    assert ranking.best([ranking.group([])], Size(1, 1), "spread") is None


def test_a_host_is_put_into_a_group_once_and_taken_out_once() -> None:
    ranking = HostRanking({"one": Left(1), "other": Left(1)}, [Size(1, 1)])
    ranking.note("one", Left(1))
    ranking.note("other", Left(1))
    group = ranking.group(["other"])

    def best() -> str | None:
        return ranking.best([group], Size(1, 1), "spread")

    for _ in range(2):
        ranking.put(group, "one", inside=True)
        ranking.put(group, "unknown", inside=True)
        assert best() == "one"
    for _ in range(2):
        ranking.put(group, "one", inside=False)
        ranking.put(group, "unknown", inside=False)
        assert best() == "other"


def test_amounts_that_no_host_can_have_share_one_set() -> None:
    levels = _Levels([1, 5, 9, 12], [5, math.inf], hosts=2)

    assert levels.at_least(9) is levels.at_least(12)
    assert levels.at_least(5) is not levels.at_least(9)
