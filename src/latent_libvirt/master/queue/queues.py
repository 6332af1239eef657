# SPDX-License-Identifier: GPL-2.0-only
"""For which label a build request waits: by the workers of its builder. Pure, no I/O.

Where the requests come from is in ``waiting.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

UNDECIDED = ""
"""Stands for the label of requests that are not for one label alone: their builder has workers of
several labels, or of one that the properties of each job decide."""


@dataclass(frozen=True)
class Queue:
    """Requests that wait.

    :param since: when the oldest began to wait, or was submitted, seconds since the epoch.
    """

    requests: int
    since: float

    def __add__(self, other: Queue) -> Queue:
        return Queue(self.requests + other.requests, min(self.since, other.since))


def by_label(queues: Mapping[str, Queue], labels: Mapping[str, frozenset[str]]) -> dict[str, Queue]:
    """Return the queues of builders as queues of labels: each request is in exactly one of them.

    :param labels: of the workers of each builder; requests of builders that have none of them wait
        for something else, and are left out.
    """
    result: dict[str, Queue] = {}
    for builder, queue in queues.items():
        if of_builder := labels.get(builder):
            label = next(iter(of_builder)) if len(of_builder) == 1 else UNDECIDED
            result[label] = result[label] + queue if label in result else queue
    return result


def labels_of_builders(
    workers: Mapping[str, Iterable[str]], labels: Mapping[str, str]
) -> dict[str, frozenset[str]]:
    """Return the labels of each builder's workers.

    :param workers: names of workers by builder.
    :param labels: of the workers of the pool, by name.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for builder, names in workers.items():
        found[builder].update(labels[name] for name in names if name in labels)
    return {builder: frozenset(of_builder) for builder, of_builder in found.items()}
