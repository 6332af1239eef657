# SPDX-License-Identifier: GPL-2.0-only
"""The obstacles to a build that can be seen without asking Buildbot: locks that are held, no room.

Buildbot's own question (``Builder.canStartBuild``) is for one request and one worker, and ends in a
reservation. Here nothing is taken. So a chooser can leave out all workers for which a request could
not start, and with locks that are the same for all requests it need not look at any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from buildbot.interfaces import IRenderable
from buildbot.process.build import Build
from buildbot.process.locks import get_real_locks_from_accesses_raw

from latent_libvirt.master.choosing.watched import (
    WatchedProperties,
)

if TYPE_CHECKING:
    from latent_libvirt.master.choosing.watched import (
        Reads,
    )


async def without_held_locks(builder: Any, workers: list[Any]) -> list[Any]:
    """Return those of *workers* with which some build of *builder* may get its locks."""
    locks = builder.config.locks
    if not locks or IRenderable.providedBy(locks):
        return workers
    return [worker for worker in workers if await _are_free(builder, worker, None)]


async def fit(builder: Any, workers: list[Any], request: Any, reads: Reads) -> list[Any]:
    """Return those of *workers* with which *request* has its locks and, with ours, room.

    :param reads: notes what was read of the request's properties.
    """
    if IRenderable.providedBy(builder.config.locks) or not all(map(_has_one_answer, workers)):
        workers = [worker for worker in workers if await _fits(builder, worker, request, reads)]
    if getattr(request, "waitedFor", False):
        return workers
    return [worker for worker in workers if not _is_kept_for_children(worker)]


def _is_kept_for_children(worker: Any) -> bool:
    return _is_ours(worker) and bool(worker.worker.is_kept_for_children)


async def _fits(builder: Any, worker: Any, request: Any, reads: Reads) -> bool:
    properties = WatchedProperties()
    await Build.setup_properties_known_before_build_starts(properties, [request], builder, worker)
    properties.watch(reads)
    if _is_ours(worker) and not await worker.worker.isCompatibleWithBuild(properties):
        return False
    is_rendered = IRenderable.providedBy(builder.config.locks)
    return not is_rendered or await _are_free(builder, worker, properties)


def _is_ours(worker: Any) -> bool:
    """Whether the question to it has no effect; of others, nobody knows."""
    return hasattr(worker.worker, "take_room")


def _has_one_answer(worker: Any) -> bool:
    """Whether what it says is the same for all requests."""
    return not _is_ours(worker) or bool(worker.worker.has_one_answer)


async def _are_free(builder: Any, worker: Any, properties: Any) -> bool:
    config = builder.config
    real = await get_real_locks_from_accesses_raw(
        config.locks, properties, builder, worker, builder.config_version
    )
    return not real or bool(builder._can_acquire_locks(real))  # noqa: SLF001 - the same rules
