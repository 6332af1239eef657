# SPDX-License-Identifier: GPL-2.0-only
"""Patches of Buildbot, without which several masters do not survive each other.

All patches are here. Each says what is wrong, and where upstream knows of it. For each,
``tests/unit/multimaster/test_patches.py`` shows what Buildbot does without it, and fails when the
patch is not needed any more. The patches are for the versions in :data:`FOR`. With another version
they are left out, and the log says so.
"""

from __future__ import annotations

from functools import wraps
from typing import Any, Final

import buildbot
from buildbot.data.masters import Master
from buildbot.db import logs
from buildbot.process.buildrequestdistributor import BasicBuildChooser, BuildRequestDistributor
from buildbot.wamp.connector import MasterService
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from latent_libvirt.advice import page
from latent_libvirt.master.choosing.racing_chooser import RacingChooser
from latent_libvirt.multimaster import (
    orphans,
    router_login,
)
from latent_libvirt.multimaster.process_exit import leave

log = Logger()

FOR: Final = ("4.3.",)
"""The versions of Buildbot that these patches are made and tested for, by how they begin."""

ROUTER_WHY: Final = (
    "Without it a master neither hears of new jobs nor reports their results. Its builds will "
    "be run again."
)

REFUSALS: Final = "wamp.error."
"""How the reasons begin for which a router lets a session not in."""


def apply() -> None:
    """Patch Buildbot in this process, once."""
    if not buildbot.version.startswith(FOR):
        log.warn(
            "Buildbot {version} is not one that latent_libvirt has patches for ({known}): what "
            "they mend may be broken, see {page}",
            version=buildbot.version,
            page=page("docs/explanation/several-masters.md"),
            known=", ".join(f"{known}x" for known in FOR),
        )
    elif not getattr(Master, "_latent_libvirt", False):
        Master._latent_libvirt = True  # noqa: SLF001 - ours
        release_what_a_dead_master_has_claimed()
        judge_masters_by_one_clock()
        leave_when_the_router_is_lost()
        log_in_at_the_router()
        let_dropped_downloads_go()
        keep_out_of_each_others_way()


def release_what_a_dead_master_has_claimed() -> None:
    """Settle what is left of a master that has stopped or died, all of it, in one transaction.

    Buildbot's ``unclaimBuildRequests`` only takes back claims of the master that calls it, so what
    a dead one had claimed stays claimed for good; its workers stay connected in the web UI, and the
    result of a build that had just ended is forgotten. Upstream: #3783 (open) reports such builds.
    """

    async def reclaim(master: Any, masterid: int, name: str) -> None:
        left = await master.db.pool.do_with_transaction(orphans.reclaim, masterid)
        log.info("master {name} leaves {left}", name=name, left=orphans.in_words(left))
        await orphans.announce(master, left)

    @wraps(Master._masterDeactivatedHousekeeping)  # noqa: SLF001
    def housekeeping(self: Any, masterid: int, name: str) -> Deferred[None]:
        return Deferred.fromCoroutine(reclaim(self.master, masterid, name))

    Master._masterDeactivatedHousekeeping = housekeeping  # noqa: SLF001


def judge_masters_by_one_clock() -> None:
    """Let nobody be taken for dead by the clock of another machine.

    Buildbot compares what masters have written by their own clocks with its own, ten minutes apart.
    Here the list of members says who is dead (``failover.py``). No upstream issue is known.
    """

    @wraps(Master.expireMasters)
    def expire(_self: Any, **_how: Any) -> Deferred[None]:
        return succeed(None)

    Master.expireMasters = expire


def leave_when_the_router_is_lost() -> None:
    """End the process when the session with the router is lost, and cancel no build.

    Buildbot stops all services then, which cancels the builds for good, and lets the process live
    on. Upstream: #3614 (open).
    """

    @wraps(MasterService.onLeave)
    def on_leave(self: Any, details: Any) -> None:
        if self.leaving:
            return
        if details.reason.startswith(REFUSALS):
            why = details.message or details.reason
            refused = router_login.REFUSED.format(user=router_login.USER)
            leave(f"The router refuses this master ({why})", why=refused)
        leave(f"The session with the router is lost ({details.message})", why=ROUTER_WHY)

    MasterService.onLeave = on_leave


def log_in_at_the_router() -> None:
    """Join the router with the secret that all masters have, if they have one.

    Buildbot has no authentication towards it. No upstream issue is known.
    """
    original = MasterService.onConnect

    @wraps(original)
    def on_connect(self: Any) -> Any:
        return router_login.join(self) if router_login.is_wanted() else original(self)

    def on_challenge(_self: Any, challenge: Any) -> str:
        return router_login.answer(challenge)

    MasterService.onConnect = on_connect
    MasterService.onChallenge = on_challenge


def let_dropped_downloads_go() -> None:
    """Do not wait for a reader of a log who has gone.

    A thread of few waits until all lines of a chunk have been read; when a client drops a download,
    nobody reads them, and soon all log reads hang, and the end of the master, too. Upstream: mended
    after 4.3.0.
    """
    original = logs._async_iter_on_pool  # noqa: SLF001

    @wraps(original)
    def without_waiting(*arguments: Any, **keywords: Any) -> Any:
        if keywords.get("max_backlog", 1) <= 0:  # the lines are all kept anyway
            keywords["wait_backlog_consuption"] = False
        return original(*arguments, **keywords)

    logs._async_iter_on_pool = without_waiting  # noqa: SLF001


def keep_out_of_each_others_way() -> None:
    """Let masters that have the same builders choose different requests when many wait.

    Two that choose the same at the same time cannot both claim it; with many short builds four of
    ten choices are for nothing. A pool's own chooser (``build_chooser.py``) does the same. No
    upstream issue is known.
    """
    if BuildRequestDistributor.BuildChooser is BasicBuildChooser:
        BuildRequestDistributor.BuildChooser = RacingChooser
