# SPDX-License-Identifier: GPL-2.0-only
"""Ends of builds that do not depend on what a guest answers, and the results that they have.

Buildbot 4.3 asks the worker to end the step of a build that was stopped, and waits for the answer
for ever. If the connection is lost while it waits, the build becomes RETRY, and runs again although
it was cancelled. A build that is to be RETRY becomes CANCELLED if its step was interrupted (#6029).

Here a build has the result that it was stopped with, and a step that does not end in time is cut
off from its guest. That goes for all builders of the process. How a worker parts with its guest is
described in ``workers/worker.py``; for workers that cannot do that, Buildbot's waiting stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, Protocol, runtime_checkable

from buildbot.process.build import Build
from buildbot.process.results import CANCELLED, RETRY, statusToString
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.upstream import relied_on

log = Logger()

INSIST_AFTER: Final = 10.0
"""Seconds from the loss of its guest until a build is ended without its step."""

RELIED_ON: Final = ("stopBuild", "buildFinished", "lostRemote")


@runtime_checkable
class Parting(Protocol):
    """A worker that can part with a guest that does not answer."""

    @property
    def cancel_timeout(self) -> float:
        """Seconds that a step may take to end when its build is stopped."""

    @property
    def guest(self) -> str:
        """The VM that it has, for people."""

    def part(self, build: Any, why: str, *, is_fault: bool) -> None:
        """End the VM and the connection of *build* without asking the guest."""


@dataclass
class End:
    """What is known of the end of a build that was stopped.

    :ivar results: what it is to end with.
    :ivar why: why it was cut off from its guest; empty if it was not.
    :ivar watched: the steps that were asked to end.
    """

    results: int | None = None
    why: str = ""
    watched: list[Any] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)

    def is_over(self) -> None:
        """Watch no longer."""
        for call in self.calls:
            if call.active():
                call.cancel()


def install() -> None:
    """Wrap what ends builds in this process, once."""
    if relied_on.are_there(
        [(Build, name) for name in RELIED_ON],
        does="ends builds",
        otherwise="one that is cancelled may wait for its guest for ever",
    ) and not getattr(Build, "_latent_libvirt_ends", False):
        Build._latent_libvirt_ends = True  # noqa: SLF001 - ours
        _wrap_stop()
        _wrap_finish()


def _wrap_stop() -> None:
    original = Build.stopBuild

    @wraps(original)
    def stop(
        self: Any, reason: str = "<no reason given>", results: int = CANCELLED
    ) -> Deferred[None]:
        if not self.finished:
            decide(self, results)
            _watch(self)
        stopped: Deferred[None] = original(self, reason, results)
        return stopped

    Build.stopBuild = stop


def _wrap_finish() -> None:
    original = Build.buildFinished

    @wraps(original)
    def finish(self: Any, text: Sequence[str], results: int) -> Deferred[None]:
        end = _end_of(self)
        if self.finished and end.why:
            return succeed(None)  # it was ended without its step, which has ended now
        end.is_over()
        if end.results is not None and (end.why or results != end.results):
            text, results = _text(self, end), end.results
            self.results = results
        finished: Deferred[None] = original(self, text, results)
        return finished

    Build.buildFinished = finish


def _end_of(build: Any) -> End:
    end = getattr(build, "_latent_libvirt_end", None)
    if end is None:
        end = build._latent_libvirt_end = End()  # noqa: SLF001 - ours
    assert isinstance(end, End)
    return end


def _text(build: Any, end: End) -> list[str]:
    words = [statusToString(end.results)]
    if build.stopped_reason is not None:
        words.append(f"({build.stopped_reason})")
    return [*words, end.why] if end.why and end.why != build.stopped_reason else words


def decide(build: Any, results: int) -> None:
    """Let *build* end with *results*; the first word counts, but RETRY gives way to others."""
    end = _end_of(build)
    if end.results in (None, RETRY):
        end.results = results


def _watch(build: Any) -> None:
    """See to it that the step that runs now ends in time, once for each step."""
    worker = _worker(build)
    end, step = _end_of(build), build.currentStep
    if isinstance(worker, Parting) and step not in end.watched:
        end.watched.append(step)
        seconds = worker.cancel_timeout
        end.calls.append(build.master.reactor.callLater(seconds, _look, build, step, seconds))


def _look(build: Any, step: Any, seconds: float) -> None:
    # Steps that are always run may follow the one that was stopped.
    if not build.finished and build.currentStep is step:
        guest = _worker(build).guest
        if _has_ended_its_command(step):
            why = f"the step did not end within {seconds:g} s after {guest} had ended its command"
            cut_off(build, why, is_fault=False)
        else:
            cut_off(build, f"{guest} did not end the step within {seconds:g} s, and was destroyed")


def _has_ended_its_command(step: Any) -> bool:
    """Whether the guest has done what it was asked, as where the master stores its last lines."""
    command = getattr(step, "cmd", None)
    return command is not None and command.rc is not None and not command.active


def cut_off(build: Any, why: str, *, is_fault: bool = True) -> None:
    """End *build*, in whatever phase it is, without asking its guest.

    It ends as it was decided before, and as RETRY if nothing was.

    :param is_fault: whether its guest is to blame.
    """
    decide(build, RETRY)
    end = _end_of(build)
    end.why = why
    log.info("{build}: {why}", build=build, why=why)
    worker, conn = _worker(build), build.conn
    if conn is not None:
        build.lostRemote()
    if worker is not None:
        build.workerforbuilder.abortPingIfAny()
        _part(worker, build, why, is_fault=is_fault)
    end.calls.append(build.master.reactor.callLater(INSIST_AFTER, _insist, build))


def _part(worker: Any, build: Any, why: str, *, is_fault: bool) -> None:
    if isinstance(worker, Parting):
        worker.part(build, why, is_fault=is_fault)
        return
    build.workerforbuilder.insubstantiate_if_needed()
    if worker.conn is not None:
        worker.conn.loseConnection()


def _worker(build: Any) -> Any:
    return None if build.workerforbuilder is None else build.workerforbuilder.worker


def _insist(build: Any) -> None:
    if not build.finished:
        log.warn("{build}: its step does not end, and is left to itself", build=build)
        in_background(_end_without_step(build), f"{build} does not end")


async def _end_without_step(build: Any) -> None:
    """End a build whose step goes on, such as one that waits for two commands at once."""
    end, step = _end_of(build), build.currentStep
    if step is not None and step.stepid is not None:
        await _leave(step, end.results)
    if not build.finished:
        await build.buildFinished(_text(build, end), end.results)


async def _leave(step: Any, results: int | None) -> None:
    for lock, access in step._locks_to_acquire:  # noqa: SLF001 - nothing else knows them
        if lock.isOwner(step, access):
            lock.release(step, access)
    for kept in step.logs.values():
        # A log that is being finished ends when its last lines are stored.
        if not (kept.finished or kept._finishing):  # noqa: SLF001 - finish() takes no second call
            await kept.finish()
    await step.master.data.updates.finishStep(step.stepid, results, False)
