# SPDX-License-Identifier: GPL-2.0-only
"""The question whether a build may start, as a worker answers it from a pool."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from buildbot.process.properties import Properties, Property

from latent_libvirt.master.workers.question import Question
from paper_pool import PaperPool, config_of


@pytest.fixture
def pool() -> PaperPool:
    return PaperPool(config_of(hosts=("alpha",), slots=1, one={}))


def question(pool: Any, label: Any = "one", worker: str = "one-1") -> Question:
    asked = Question(worker, lambda: pool)
    asked.label = label
    return asked


def properties(**more: str) -> Properties:
    return Properties(buildername="check", **more)


@pytest_twisted.ensureDeferred
async def test_room_that_one_worker_has_taken_is_not_that_of_another(
    pool: PaperPool,
) -> None:
    first, second = question(pool), question(pool, worker="one-2")
    await first.ask(properties())
    await second.ask(properties())
    assert first.is_worthwhile(None)
    assert second.is_worthwhile(None)

    assert first.take_room(None, awaited=False, now=0.0)
    pool.admission.confirm_reservation("one-1")

    assert not second.take_room(None, awaited=False, now=0.0)


@pytest_twisted.ensureDeferred
async def test_a_build_whose_label_is_unknown_may_start_and_is_to_fail(pool: PaperPool) -> None:
    asked = question(pool, Property("label"))

    await asked.ask(properties())

    assert asked.is_worthwhile(None)
    assert asked.take_room(None, awaited=False, now=0.0)
    assert not pool.capacity.taken


@pytest_twisted.ensureDeferred
async def test_the_label_of_a_build_is_that_of_its_properties(pool: PaperPool) -> None:
    asked = question(pool, Property("label"))

    label, _size = await asked.wanted(properties(label="one"))

    assert label == "one"
    assert asked.fixed_label == ""
    assert question(pool).fixed_label == "one"
