# SPDX-License-Identifier: GPL-2.0-only
"""For which label a request waits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.master.queue.queues import (
    UNDECIDED,
    Queue,
    by_label,
    labels_of_builders,
)

BUILDERS = st.sampled_from(["check", "docs", "package", "nightly"])
LABELS = st.sampled_from(["debian-12", "fedora", UNDECIDED])
queues = st.dictionaries(
    BUILDERS, st.builds(Queue, st.integers(1, 9), st.floats(0, 99, allow_nan=False))
)
labels = st.dictionaries(BUILDERS, st.frozensets(LABELS))


def test_builders_of_one_label_share_its_queue_and_its_oldest_request_is_that_of_all() -> None:
    waiting = {"check": Queue(2, 100.0), "docs": Queue(3, 50.0)}
    both = frozenset({"debian-12"})

    assert by_label(waiting, {"check": both, "docs": both}) == {"debian-12": Queue(5, 50.0)}


def test_requests_that_several_labels_could_serve_are_of_none_of_them() -> None:
    either = frozenset({"debian-12", "fedora"})

    assert by_label({"check": Queue(2, 1.0)}, {"check": either}) == {UNDECIDED: Queue(2, 1.0)}


def test_a_label_that_the_properties_of_a_job_decide_is_not_known() -> None:
    labels = labels_of_builders({"check": ["by-hand"]}, {"by-hand": UNDECIDED})

    assert by_label({"check": Queue(2, 1.0)}, labels) == {UNDECIDED: Queue(2, 1.0)}


def test_requests_of_builders_without_workers_of_the_pool_are_not_its_own() -> None:
    labels = labels_of_builders(
        {"check": ["debian-12-1", "bare-metal"], "other": ["bare-metal"]},
        {"debian-12-1": "debian-12", "debian-12-2": "debian-12"},
    )

    assert labels["check"] == {"debian-12"}
    assert by_label({"other": Queue(2, 1.0), "gone": Queue(1, 1.0)}, labels) == {}


@given(queues, labels)
def test_each_request_is_in_exactly_one_queue(
    waiting: dict[str, Queue], of_builders: dict[str, frozenset[str]]
) -> None:
    mine = [queue for builder, queue in waiting.items() if of_builders.get(builder)]

    found = by_label(waiting, of_builders).values()

    assert sum(queue.requests for queue in found) == sum(queue.requests for queue in mine)
    assert min((q.since for q in found), default=0) == min((q.since for q in mine), default=0)
