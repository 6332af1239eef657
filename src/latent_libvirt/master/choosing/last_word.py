# SPDX-License-Identifier: GPL-2.0-only
"""The pool's answer as the last of all that decide whether a build may start.

Buildbot 4.3 asks a worker (``isCompatibleWithBuild``) before it looks at the builder's locks and
calls the ``canStartBuild`` of its configuration. Room that was reserved at that question would be
kept for a build that is then refused, and other VMs would have been ended for it. So that question
has no effect here. Once Buildbot itself has nothing against the build, the worker is asked to take
the room (``take_room``), and may still say no.

What was taken is given back when the distributor is through with the builder and the build has not
started: another master has claimed the request, or something failed on the way.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakSet

from buildbot.process.builder import Builder
from buildbot.process.buildrequestdistributor import BuildRequestDistributor
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.master.choosing.watched import unwatched
from latent_libvirt.upstream import relied_on

if TYPE_CHECKING:
    from latent_libvirt.pool.admission import Admission

log = Logger()

RELIED_ON: Final = (
    (Builder, "canStartBuild"),
    (Builder, "_setup_props_if_needed"),
    (BuildRequestDistributor, "_maybeStartBuildsOnBuilder"),
)


_admissions: WeakKeyDictionary[Any, WeakSet[Any]] = WeakKeyDictionary()


def install(distributor: Any, admission: Admission) -> None:
    """Let *admission* have the last word about the builds of *distributor*'s master."""
    if not relied_on.are_there(
        RELIED_ON,
        does="decides about builds",
        otherwise="a build may start although there is no room, and is then put back",
    ):
        return
    if not hasattr(Builder.canStartBuild, "_asks_last"):
        Builder.canStartBuild = _asking_last(Builder.canStartBuild)
        Builder._setup_props_if_needed = _unwatched(Builder._setup_props_if_needed)  # noqa: SLF001
    if distributor not in _admissions:
        _admissions[distributor] = WeakSet()
        _decide_in_the_end(distributor)
    _admissions[distributor].add(admission)


def _asking_last(original: Any) -> Any:
    async def ask(builder: Any, wfb: Any, request: Any) -> bool:
        if not await original(builder, wfb, request):
            return False
        take_room = getattr(wfb.worker, "take_room", None)
        # It may have been paused since.
        return take_room is None or (
            wfb.isAvailable() and await take_room(awaited=bool(unwatched(request).waitedFor))
        )

    @wraps(original)
    def can_start_build(builder: Any, wfb: Any, request: Any) -> Deferred[bool]:
        return Deferred.fromCoroutine(ask(builder, wfb, request))

    can_start_build._asks_last = True  # type: ignore[attr-defined] # noqa: SLF001 - ours
    return can_start_build


def _unwatched(original: Any) -> Any:
    """Let Buildbot set properties up from the request itself: only functions are watched."""

    @wraps(original)
    def set_up(builder: Any, properties: Any, wfb: Any, request: Any) -> Any:
        return original(builder, properties, wfb, unwatched(request))

    return set_up


def _decide_in_the_end(distributor: Any) -> None:
    original = distributor._maybeStartBuildsOnBuilder  # noqa: SLF001 - there is no other hook
    admissions = _admissions[distributor]

    async def try_builder(builder: Any) -> None:
        try:
            await original(builder)
        finally:
            for admission in admissions:
                admission.nothing_is_undecided()

    distributor._maybeStartBuildsOnBuilder = try_builder  # noqa: SLF001
