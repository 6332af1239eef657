# SPDX-License-Identifier: GPL-2.0-only
"""Reports of the build requests that wait, as plain values."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from latent_libvirt.status.queue import QueueStatus, WaitingStatus

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.master.queue.queues import Queue
    from latent_libvirt.master.queue.why_waiting import Explanation


def waiting(
    config: PoolConfig, queues: Mapping[str, Queue] | None
) -> tuple[QueueStatus, ...] | None:
    """Return the queue of each label of *config*, then those of others that are not empty."""
    if queues is None:
        return None
    now = time.time()
    others = [label for label in queues if label not in config.labels]
    return tuple(_queue(label, queues.get(label), now) for label in (*config.labels, *others))


def _queue(label: str, queue: Queue | None, now: float) -> QueueStatus:
    if queue is None:
        return QueueStatus(label, 0, 0.0)
    return QueueStatus(label, queue.requests, max(0.0, now - queue.since))


def explained(explanations: Iterable[Explanation]) -> tuple[WaitingStatus, ...]:
    """Return why each request waits."""
    now = time.time()
    return tuple(
        WaitingStatus(
            request=each.request.id,
            builder=each.request.builder,
            priority=each.request.priority,
            seconds=max(0.0, now - each.request.since),
            labels=each.labels,
            kind=each.reason.kind,
            reason=each.reason.text,
        )
        for each in explanations
    )
