# SPDX-License-Identifier: GPL-2.0-only
"""The step ``worker_preparation`` of a build's page: how its VM comes up, or why there is none.

Buildbot 4.3 shows nothing there until the worker is ready. Of a start that failed it shows "worker
cannot substantiate", and the reason below the lines of a traceback. The methods of its builds that
say so are wrapped: for builds whose VM failed they say the reason instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from buildbot.process.build import Build
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt.errors import GuestError, LatentLibvirtError
from latent_libvirt.master.page.links import link_to
from latent_libvirt.plain_text import as_text
from latent_libvirt.upstream import relied_on

if TYPE_CHECKING:
    from latent_libvirt.pool.lease import Lease

log = Logger()

LOG: Final = "vm start"
"""The name of the log of that step."""

PHASES: Final = "vm_phases"
"""The property of a build that has the phases of its VM's start, with their seconds."""

LOST: Final = "lost"
"""What the time of VMs that were lost is called among them."""

SOURCE: Final = "latent_libvirt"

RELIED_ON: Final = ("buildPreparationFailure", "buildFinished", "setupWorkerForBuilder")
"""The methods of Buildbot's builds that are wrapped."""

_PERIOD: Final = 1.0
"""Seconds between two looks at a VM that comes up."""

_GRAIN: Final = 5
"""Seconds of a phase are shown in steps of so many: each is a write to the database."""

_SHORTEST: Final = 0.01
"""Seconds of the phase in which a start has failed: 0 are those of one that goes on."""

_LONGEST_LINE: Final = 300

_WORDS: Final = {
    "prepare": "preparing",
    "clone": "cloning the disk",
    "boot": "booting",
    "save": "saving the state",
    "resume": "resuming",
    "assign": "assigning the identity",
    "attach": "waiting for the worker to attach",
    "build": "ready",
}


class Page:
    """What the page of a build shows of the start of *lease*.

    :param build: the build, whose step ``worker_preparation`` has been made.
    :ivar last: what the VM was at when its start ended, in one line.
    """

    def __init__(self, build: Any, lease: Lease, reactor: Any) -> None:
        self._build = build
        self._step = build._preparation_step  # noqa: SLF001 - Buildbot's
        self._lease = lease
        self._writing = DeferredLock()
        self._log: Any = None
        self._told = 0
        self._phase = ""
        self._summary = ""
        self.last = ""
        self._look_again = LoopingCall(self._look)
        self._look_again.clock = reactor
        self._ended = False
        self._error: LatentLibvirtError | None = None
        self._written: Deferred[None] = succeed(None)

    def begin(self) -> None:
        """Begin to show it, if it takes long enough for somebody to see."""
        self._look_again.start(_PERIOD, now=False).addErrback(_cannot_tell)

    def end(self, error: LatentLibvirtError | None) -> None:
        """Show how it ended; the build need not wait until that is written."""
        self._ended, self._error = True, error
        self.last = self._now()
        if self._look_again.running:
            self._look_again.stop()
        lines = [*self._losses(), self._at(0, self._phases())]
        if error is None and not self._lease.lost and not self._phase:
            return  # all there is to show is in the summary
        if error is not None:
            lines += ["", f"no VM: {error}"]
            current, seconds = self._lease.current_phase
            last = {current: max(_SHORTEST, round(seconds, 2))}
            self._build.setProperty(PHASES, rounded(self._lease) | last, SOURCE)
        self._written = self._writing.run(
            lambda: Deferred.fromCoroutine(self._write_last(lines))
        ).addErrback(_cannot_tell)

    async def has_told(self, error: LatentLibvirtError) -> bool:
        """Return whether it ended with *error*, once that is written."""
        await self._written
        return self._error is error

    def outcome(self) -> str:
        """Return in one line how the worker came by its VM."""
        lease = self._lease
        return f"on host {lease.vm.host.name}{_after(len(lease.lost))}: {self._phases()}"

    def link(self, master: Any) -> tuple[str, str] | None:
        """Return the name and the address of the VM's place on the page "VMs", if that is shown."""
        vm = self._lease.vm
        address = link_to(master, vm.vm_id)
        return None if address is None else (f"VM {vm}", address)

    def _look(self) -> Deferred[None]:
        losses, news = self._losses(), self._new_phase()
        writes = self._write(losses + news, is_new=bool(news))
        return self._writing.run(lambda: Deferred.fromCoroutine(writes)).addErrback(_cannot_tell)

    def _losses(self) -> list[str]:
        """Return what is to be said of VMs that were lost, once the next one is known.

        If there is none, the end says why.
        """
        lease, lines = self._lease, []
        while self._told < len(lease.lost):
            lost = lease.lost[self._told]
            following = [*lease.lost[self._told + 1 :], lease.vm][0]
            if following is lost:
                break
            reason = as_text(lease.reasons[self._told]).removeprefix(f"host {lost.host.name}: ")
            self._told += 1
            what = f"VM {self._told} lost on host {lost.host.name}: {reason}"
            age = following.timeline.age
            ago = age if age < lease.timeline.age else 0  # a spare is older than the loss
            lines.append(self._at(ago, f"{what}; trying host {following.host.name}"))
        return lines

    def _new_phase(self) -> list[str]:
        phase, seconds = self._lease.current_phase
        now = f"VM {self._lease.vm}: {_WORDS.get(phase, phase)}"
        if now == self._phase:
            return []
        self._phase = now
        return [self._at(seconds, now)]

    def _at(self, ago: float, what: str) -> str:
        return f"{max(0, self._lease.timeline.age - ago):6.1f} s  {what}"

    def _phases(self) -> str:
        """Return the phases of the VM that it has, with their seconds."""
        told = [f"{phase} {seconds:.1f} s" for phase, seconds in self._lease.phases.items()]
        current, seconds = self._lease.current_phase
        if current != "build":
            told.append(f"{current} {seconds:.1f} s (it did not end)")
        return ", ".join(told)

    async def _write(self, lines: list[str], *, is_new: bool) -> None:
        await self._append(lines)
        if is_new and not self._ended:
            await self._store_phases()
        summary = self._summarize()
        if summary != self._summary and not self._ended:
            self._summary = summary
            updates = self._step.master.data.updates
            await updates.setStepStateString(self._step.stepid, summary)

    async def _store_phases(self) -> None:
        """Store the phases so far with the build. The last one goes on, and has no seconds yet."""
        current, _seconds = self._lease.current_phase
        self._build.setProperty(PHASES, rounded(self._lease) | {current: 0.0}, SOURCE)
        await self._store_properties()

    async def _store_properties(self) -> None:
        updates = self._step.master.data.updates
        await updates.setBuildProperties(self._build.buildid, self._build)

    def _summarize(self) -> str:
        _phase, seconds = self._lease.current_phase
        for_long = int(seconds) // _GRAIN * _GRAIN
        return self._now(f" ({for_long} s)" if for_long else "")

    def _now(self, for_long: str = "") -> str:
        phase, _seconds = self._lease.current_phase
        host = self._lease.vm.host.name
        return f"{_WORDS.get(phase, phase)}{for_long} on host {host}{_after(len(self._lease.lost))}"

    async def _append(self, lines: list[str]) -> None:
        if not lines:
            return
        if self._log is None:
            self._log = await self._step.addLog(LOG, "t")
        await self._log.addContent("\n".join(lines) + "\n")

    async def _write_last(self, lines: list[str]) -> None:
        await self._append(lines)
        await self._log.finish()
        if self._error is not None:
            await self._store_properties()


def rounded(lease: Lease) -> dict[str, float]:
    """Return the phases before the first build of *lease*, after the time of VMs it has lost."""
    before = max(0.0, lease.timeline.age - lease.vm.timeline.age)
    lost = {LOST: before} if lease.lost and before else {}
    return {name: round(seconds, 2) for name, seconds in (lost | lease.start_phases).items()}


def _after(lost: int) -> str:
    return f", after {lost} lost VM{'s' if lost > 1 else ''}" if lost else ""


def _cannot_tell(failure: Failure) -> None:
    """Go on: no VM is to fail because the database does."""
    log.failure("the page of a build cannot be written", failure=failure)


@contextmanager
def shown(build: Any, lease: Lease, reactor: Any) -> Iterator[None]:
    """Show on the page of *build* how the VM of *lease* comes up in the ``with`` block."""
    if getattr(build, "_preparation_step", None) is None:
        yield
        return
    page = build._latent_libvirt_page = Page(build, lease, reactor)  # noqa: SLF001 - ours
    page.begin()
    failed: LatentLibvirtError | None = None
    try:
        yield
    except LatentLibvirtError as error:
        failed = error
        raise
    finally:
        page.end(failed)


def install() -> None:
    """Wrap what builds of this process say of their preparation, once."""
    if relied_on.are_there(
        [(Build, name) for name in RELIED_ON],
        does="prepares builds",
        otherwise="why a build has no VM is below a traceback",
    ) and not getattr(Build, "_latent_libvirt_pages", False):
        Build._latent_libvirt_pages = True  # noqa: SLF001 - ours
        _wrap_failure()
        _wrap_end()
        _wrap_success()


def _wrap_failure() -> None:
    original = Build.buildPreparationFailure

    async def explain(build: Any, why: Any, state: str) -> None:
        error = _error_of(build, why, state)
        if error is None or build.stopped:
            await original(build, why, state)
            await _tell_cancel(build)
            return
        summary = build._latent_libvirt_summary = brief(error)  # noqa: SLF001 - ours
        await _tell(build, error)
        # Of what is neither a Failure nor an Exception, it makes no log.
        await original(build, summary, state)
        step = build._preparation_step  # noqa: SLF001 - Buildbot's
        await build.master.data.updates.setStepStateString(step.stepid, summary)

    @wraps(original)
    def failed(self: Any, why: Any, state_string: str) -> Deferred[None]:
        return Deferred.fromCoroutine(explain(self, why, state_string))

    Build.buildPreparationFailure = failed


def _wrap_end() -> None:
    original = Build.buildFinished

    @wraps(original)
    def finished(self: Any, text: list[str], results: int) -> Any:
        summary = getattr(self, "_latent_libvirt_summary", None)
        return original(self, text if summary is None else [summary], results)

    Build.buildFinished = finished


def _wrap_success() -> None:
    original = Build.setupWorkerForBuilder

    @wraps(original)
    def set_up(self: Any, workerforbuilder: Any) -> Any:
        page = getattr(self, "_latent_libvirt_page", None)
        if page is not None:
            # Buildbot has said "worker ... ready" just now.
            ready = f"worker {self.getWorkerName()} ready {page.outcome()}"
            updates = self.master.data.updates
            told = updates.setStepStateString(self._preparation_step.stepid, ready)
            told.addErrback(_cannot_tell)
            if (link := page.link(self.master)) is not None:
                linked = updates.addStepURL(self._preparation_step.stepid, *link)
                linked.addErrback(_cannot_tell)
        return original(self, workerforbuilder)

    Build.setupWorkerForBuilder = set_up


def brief(error: LatentLibvirtError) -> str:
    """Return in one line why a build has no VM."""
    return as_text(f"no VM: {error.gist}")[:_LONGEST_LINE]


async def _tell_cancel(build: Any) -> None:
    """Say when a build was cancelled whose VM came up."""
    page = getattr(build, "_latent_libvirt_page", None)
    if page is not None and build.stopped:
        stepid = build._preparation_step.stepid  # noqa: SLF001 - Buildbot's
        when = f"cancelled while {page.last}"
        await build.master.data.updates.setStepStateString(stepid, when)


async def _tell(build: Any, error: LatentLibvirtError) -> None:
    """Add the reason as a log, unless the start of the VM has done so."""
    page = getattr(build, "_latent_libvirt_page", None)
    try:
        if page is None or not await page.has_told(error):
            await build._preparation_step.addCompleteLog(LOG, f"no VM: {error}\n")  # noqa: SLF001
    except Exception:  # noqa: BLE001 - the build must end, whether or not it can be explained
        log.failure("{build}: why it has no VM cannot be stored", build=build)


def _error_of(build: Any, why: Any, state: str) -> LatentLibvirtError | None:
    """Return why there is no VM for *build*; nothing if its worker or its failure is not ours."""
    cause = getattr(getattr(why, "value", None), "__cause__", None)
    if isinstance(cause, LatentLibvirtError):
        return cause
    worker = build.workerforbuilder.worker
    if state == "setupBuild" or not hasattr(worker, "pool_name"):
        return None
    if isinstance(why, Failure):  # it may be a defect of ours
        log.failure("{build}: {state}", why, build=build, state=state)
    return GuestError("the VM was lost before the first step", details=_name(why))


def _name(why: Any) -> str | None:
    error = getattr(why, "value", None)
    return None if error is None else as_text(f"{type(error).__name__}: {error}")[:_LONGEST_LINE]
