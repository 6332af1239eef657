# SPDX-License-Identifier: GPL-2.0-only
"""Builds that Buildbot failed to start: they end as EXCEPTION, with the reason, and free all.

Buildbot 4.3 has no handler around the start of a build. A property of an unexpected type, or a
renderer that raises, leaves the build request claimed and the worker busy for good, the master
waits for that worker when it is to stop, and claims the same request when it is back. No upstream
issue is known.

The methods that start a build are wrapped, for all builders of the process: what is wrong with them
does not depend on whose worker it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any, Final

from buildbot.process.build import Build
from buildbot.process.builder import Builder
from buildbot.process.results import CANCELLED, EXCEPTION
from buildbot.process.workerforbuilder import States
from buildbot.util import epoch2datetime
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.upstream import relied_on

log = Logger()

STEP: Final = "worker_preparation"
"""The name that Buildbot gives to the step in which a worker is prepared."""

RELIED_ON: Final = (
    (Builder, "maybeStartBuild"),
    (Builder, "buildFinished"),
    (Build, "startBuild"),
    (Build, "buildFinished"),
)

_LONGEST_REASON: Final = 2000
_LONGEST_LINE: Final = 200


def install() -> None:
    """Wrap what starts builds in this process, once."""
    if relied_on.are_there(
        RELIED_ON,
        does="starts builds",
        otherwise="a build that cannot be started may keep its worker",
    ) and not getattr(Build, "_latent_libvirt", False):
        Build._latent_libvirt = True  # noqa: SLF001 - ours
        _wrap_builder()
        _wrap_build()


def _wrap_builder() -> None:
    original = Builder.maybeStartBuild

    async def start(builder: Any, wfb: Any, requests: Sequence[Any]) -> Any:
        try:
            return await original(builder, wfb, requests)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not keep the worker
            log.failure("builder {name}: a build cannot be started", name=builder.name)
            await _end_without_build(builder, wfb, requests, error)
            return True

    @wraps(original)
    def maybe_start(self: Any, wfb: Any, requests: Sequence[Any]) -> Deferred[Any]:
        return Deferred.fromCoroutine(start(self, wfb, requests))

    Builder.maybeStartBuild = maybe_start


def _wrap_build() -> None:
    original = Build.startBuild

    async def start(build: Any, wfb: Any) -> None:
        try:
            await original(build, wfb)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not keep the worker
            log.failure("{build}: it cannot be started", build=build)
            await _end(build, wfb, error)
        else:
            await _end_if_cancelled_before(build, wfb)

    @wraps(original)
    def start_build(self: Any, wfb: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(start(self, wfb))

    Build.startBuild = start_build


async def _end_if_cancelled_before(build: Any, wfb: Any) -> None:
    """End a build whose request was cancelled between its claim and its start.

    Buildbot returns in that case, and nobody ends the build.
    """
    was_prepared = build._preparation_step is not None or not build.do_build  # noqa: SLF001
    if build.stopped and not build.finished and not was_prepared:
        await build.buildFinished(["cancelled", f"({build.stopped_reason})"], CANCELLED)
        _free(build, wfb, CANCELLED)


async def _end(build: Any, wfb: Any, error: Exception) -> None:
    """End a build in the middle of its start."""
    results = CANCELLED if build.stopped else EXCEPTION
    try:
        if build.finished:
            return
        await _note(build, error)
        # Without a build, Buildbot has not got as far as these.
        build.stopBuildConsumer = getattr(build, "stopBuildConsumer", _Nobody())
        await build.buildFinished(_brief(error).split(), results)
    except Exception:  # noqa: BLE001 - the database, say; the worker is needed all the same
        log.failure("{build}: what it failed of cannot be stored", build=build)
    finally:
        _free(build, wfb, results)


def _free(build: Any, wfb: Any, results: int) -> None:
    """Free the worker and complete the requests, unless Buildbot has done so."""
    if build not in build.builder.building:
        return
    build.results, build.finished = results, True
    if wfb.state is States.BUILDING:
        wfb.buildFinished()
    build.builder.buildFinished(build, wfb)


async def _note(build: Any, error: Exception) -> None:
    """Put the reason on the build's page; the build may not have one yet."""
    for request in build.requests:
        build.master.botmaster.remove_in_progress_buildrequest(request.id)
    if build.buildid is None:
        # Not its own method: the name of a virtual builder may be what is wrong.
        build._builderid = await build.builder.getBuilderId()  # noqa: SLF001
        build.buildid, build.number = await _add_build(
            build.builder, build.workerforbuilder, build.requests
        )
    step = build._preparation_step  # noqa: SLF001
    stepid = None if step is None else getattr(step, "stepid", None)
    await _explain(build.master, build.buildid, stepid, error)


async def _add_build(builder: Any, wfb: Any, requests: Sequence[Any]) -> tuple[int, int]:
    buildid, number = await builder.master.data.updates.addBuild(
        builderid=await builder.getBuilderId(),
        buildrequestid=requests[0].id,
        workerid=wfb.worker.workerid,
    )
    return int(buildid), int(number)


async def _explain(master: Any, buildid: int, stepid: int | None, error: Exception) -> None:
    """Add the reason as a log of the step in which a worker is prepared, and finish that."""
    updates = master.data.updates
    if stepid is None:
        stepid, _number, _name = await updates.addStep(buildid=buildid, name=STEP)
        await updates.startStep(stepid)
    logid = await updates.addLog(stepid, "reason", "t")
    await updates.appendLog(logid, _reason(error))
    await updates.finishLog(logid)
    await updates.setStepStateString(stepid, _brief(error))
    await updates.finishStep(stepid, EXCEPTION, False)


def _brief(error: Exception) -> str:
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return f"the build cannot be started: {line}"[:_LONGEST_LINE]


def _reason(error: Exception) -> str:
    return (
        f"Buildbot could not start this build.\n\n{type(error).__name__}: {error}"[:_LONGEST_REASON]
        + "\n\n"
        "The properties of the job, or a function or renderer in master.cfg, are not what Buildbot "
        "expects. Where exactly is in the master's twistd.log. Correct it, and start the job once "
        "more.\n"
    )


async def _end_without_build(
    builder: Any, wfb: Any, requests: Sequence[Any], error: Exception
) -> None:
    """End requests whose build failed before Buildbot had it under way."""
    _forget(builder, wfb, requests)
    updates = builder.master.data.updates
    try:
        buildid, _number = await _add_build(builder, wfb, requests)
        await _explain(builder.master, buildid, None, error)
        await updates.setBuildStateString(buildid, _brief(error))
        await updates.finishBuild(buildid, EXCEPTION)
    except Exception:  # noqa: BLE001 - the request must end, whether or not it can be explained
        log.failure("builder {name}: what a build failed of cannot be stored", name=builder.name)
    now = epoch2datetime(builder.master.reactor.seconds())
    await updates.completeBuildRequests(
        [request.id for request in requests], EXCEPTION, complete_at=now
    )


def _forget(builder: Any, wfb: Any, requests: Sequence[Any]) -> None:
    for request in requests:
        builder.master.botmaster.remove_in_progress_buildrequest(request.id)
    builder.building = [b for b in builder.building if b.requests != requests]
    if wfb.state is States.BUILDING:
        wfb.buildFinished()
    elif (give_back := getattr(wfb.worker, "start_failed", None)) is not None:
        give_back()


class _Nobody:
    """Stands in for the consumer of messages that stop a build, where there was none yet."""

    def stopConsuming(self) -> None:
        """Do nothing."""
