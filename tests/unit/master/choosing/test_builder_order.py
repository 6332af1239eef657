# SPDX-License-Identifier: GPL-2.0-only
"""The order in which builders are tried, and what it costs the database."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import succeed

from latent_libvirt.master.choosing.builder_order import in_order, install
from latent_libvirt.master.queue.queues import Queue


def builders(*names: str) -> list[Any]:
    return [SimpleNamespace(name=name) for name in names]


def names(found: list[Any]) -> list[str]:
    return [builder.name for builder in found]


def test_priority_comes_first_then_age_then_the_name() -> None:
    waiting = {
        "old": {0.0: Queue(3, since=10.0)},
        "urgent": {1.0: Queue(1, since=90.0), 0.0: Queue(1, since=80.0)},
        "young": {0.0: Queue(1, since=20.0)},
        "also young": {0.0: Queue(1, since=20.0)},
        "awaited": {0.5: Queue(1, since=30.0)},
        "low": {-1.0: Queue(1, since=1.0)},
    }

    found = in_order(builders(*sorted(waiting)), waiting)

    assert names(found) == ["urgent", "old", "also young", "young", "awaited", "low"]


def test_builders_without_requests_are_not_tried() -> None:
    assert names(in_order(builders("a", "b"), {"b": {0.0: Queue(1, 1.0)}})) == ["b"]


def test_one_question_is_asked_about_many_builders_and_none_about_one() -> None:
    asked: list[Any] = []

    def answer(function: Any) -> Any:
        asked.append(function)
        return succeed({"b": {0.0: Queue(1, 1.0)}})

    master = SimpleNamespace(db=SimpleNamespace(pool=SimpleNamespace(do=answer)))
    distributor = SimpleNamespace()
    install(distributor)

    one = distributor._defaultSorter(master, builders("a")).result
    assert not asked
    many = distributor._defaultSorter(master, builders(*"abc")).result

    assert names(one) == ["a"]
    assert names(many) == ["b"]
    assert len(asked) == 1
