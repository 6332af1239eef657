# SPDX-License-Identifier: GPL-2.0-only
"""The VM that a worker has, and the build in it: watched, parted with, released.

A guest may stop to answer at any moment. Nothing here waits for one: each question to a guest has
a deadline, and a VM whose guest is silent ends with its connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from buildbot.process.results import EXCEPTION, FAILURE
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.config.units import format_duration
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import GuestError
from latent_libvirt.master import build_ends
from latent_libvirt.master.records import screen
from latent_libvirt.master.records.network_log import NetworkLog
from latent_libvirt.master.usage import record
from latent_libvirt.master.workers import held, preparation
from latent_libvirt.status.names import BuildRef
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from buildbot.worker.latent import AbstractLatentWorker
    from twisted.python.failure import Failure

    from latent_libvirt.pool.lease import Lease
    from latent_libvirt.pool.vm_pool import VmPool

log = Logger()


class LeasedVm:
    """A VM, from the lease until it is released.

    :param pool: where the lease is from.
    :param worker: whose VM it is; nothing is used of it that Buildbot's workers do not have.
    :ivar build: what it serves, or served last; nothing until the first one may begin.
    """

    def __init__(self, lease: Lease, pool: VmPool, worker: AbstractLatentWorker) -> None:
        self.lease = lease
        self.pool = pool
        self.build: Any = None
        self._worker = worker
        self._lost_step: Any = None
        self._alarms: list[Any] = []
        self._network: NetworkLog | None = None
        self._since = 0.0  # when its build began to have it
        self._counted: Any = None  # the build whose usage is stored for good

    def __str__(self) -> str:
        return f"VM {self.lease} of label {self.lease.label_name!r}"

    @property
    def is_idle(self) -> bool:
        """Whether it waits for another build."""
        return self.lease.idle is not None

    @property
    def is_under_build(self) -> bool:
        """Whether a build goes on in it, as far as the master is concerned."""
        if self.lease.released or self.lease.is_parted:
            return False
        return self.build is not None and not self.build.finished

    @property
    def has_failed_build(self) -> bool:
        """Whether its last build ended as FAILURE or EXCEPTION."""
        return self.build is not None and self.build.results in (FAILURE, EXCEPTION)

    # What its build is shown.

    def serve_again(self, build: Any) -> None:
        """Serve *build* after another one."""
        self.build = build
        self._since = passed(self._worker.master.reactor)
        self._show_network(build)
        self.lease.serve_again(requests_of(build))
        self.set_properties(build)
        in_background(self.note_job(build), self._worker.name)

    async def note_job(self, build: Any) -> None:
        """Record which build it is for."""
        self.lease.job = BuildRef(build.builder.name, build.number, await build.getUrl())

    def set_properties(self, build: Any) -> None:
        """Give *build* the properties that name its VM."""
        self._set(build, self.lease.properties)

    def _set(self, build: Any, properties: Mapping[str, Any]) -> None:
        for name, value in properties.items():
            build.setProperty(name, value, type(self._worker).__name__)
        # Buildbot stores them when the first step has ended; who looks before is to see them too.
        stored = self._worker.master.data.updates.setBuildProperties(build.buildid, build)
        in_background(stored, self._worker.name)

    def _show_network(self, build: Any) -> None:
        """Show what *build* fetches, until it ends."""
        self.build_ended()
        if self.lease.vm.fetched is not None:
            self._network = NetworkLog(build, self.lease, self.lease.vm.fetched)

    def build_ended(self) -> None:
        """Note that nothing more belongs to the build that it served last."""
        network, self._network = self._network, None
        if network is not None:
            network.end()

    # Its life.

    def begin(self, build: Any) -> None:
        """Serve *build*, its first one, and end when its life is over."""
        self.build = build
        self._set(build, {preparation.PHASES: preparation.rounded(self.lease)})
        since_start = sum(self.lease.start_phases.values())
        self._since = passed(self._worker.master.reactor) - since_start
        self._after(record.AGAIN_AFTER, self._store_usage_again)
        self._show_network(build)
        self.lease.ended().addErrback(self._has_ended)
        if self.lease.label.max_lifetime is not None:
            self._after(self.lease.label.max_lifetime, self._life_is_over)

    def _after(self, seconds: float, do: Callable[..., None], *arguments: Any) -> None:
        """Call *do* then, if the VM is still there."""
        alarm = self._worker.master.reactor.callLater(seconds, do, *arguments)
        self._alarms.append(alarm)

    def _has_ended(self, _failure: Failure) -> None:
        """Drop the connection of a VM that has ended under its build: TCP might not for hours."""
        if not self.lease.released:
            abort(self._worker.conn)

    def _life_is_over(self) -> None:
        if self.lease.idle is not None:
            in_background(self.lease.idle.end(), self._worker.name)
        elif self.is_under_build:
            limit = format_duration(self.lease.label.max_lifetime or 0)
            build_ends.decide(self.build, EXCEPTION)
            why = f"{self} has lived for its max_lifetime of {limit}, and was destroyed"
            build_ends.cut_off(self.build, why)

    # What its builds use.

    def _store_usage_again(self) -> None:
        """Write down what a long build has used so far, in case this master is killed."""
        if self.is_under_build:
            self._store_usage(self.build, self._seconds, is_over=False)
        self._after(record.AGAIN_AFTER, self._store_usage_again)

    async def count(self) -> None:
        """Read and store what its last build has used, which is over."""
        build = self.build
        if build is None or self._counted is build:
            return
        self._counted, seconds = build, self._seconds
        if not self.lease.is_silent:
            await self.lease.vm.machine.measure()  # the next build may begin while that takes
        self._store_usage(build, seconds, is_over=True)
        self.lease.vm.machine.meter.begin()

    @property
    def _seconds(self) -> float:
        """Seconds for which its build has had it."""
        return passed(self._worker.master.reactor) - self._since

    def _store_usage(self, build: Any, seconds: float, *, is_over: bool) -> None:
        master = self._worker.master
        usage = record.usage_of(self.lease.vm, seconds)
        if usage is not None and build.buildid is not None:
            stored = record.store(master, build, usage, is_over=is_over)
            in_background(stored, f"{self._worker.name}: usage")

    # A guest that does not answer before the first step.

    def watch_start_of(self, build: Any) -> None:
        """End the connection if the guest does not answer, and *build* waits for it."""
        self._after(self.lease.label.attach_timeout, self._ask_guest, build)

    def _ask_guest(self, build: Any) -> None:
        if self._worker.conn is not None and self._waits_for_guest(build):
            answer = self._worker.conn.remotePrint(message="are you there?")
            answer.addTimeout(self.lease.label.attach_timeout, self._worker.master.reactor)
            answer.addErrback(self._does_not_answer, build)

    def _does_not_answer(self, _failure: Failure, build: Any) -> None:
        if self._waits_for_guest(build):
            self.lease.is_silent = True
            abort(self._worker.conn)

    def _waits_for_guest(self, build: Any) -> bool:
        """Whether *build* is the one in it, and is not yet at its locks or steps."""
        if not self.is_under_build or self.build is not build:
            return False
        return not build.executedSteps and not build._acquiringLock  # noqa: SLF001

    # Its end.

    def part(self, build: Any, why: str, *, is_fault: bool) -> None:
        """Take it from *build*, which is to end now: what is lost with it is no loss any more."""
        if self.lease.is_parted:
            return
        self.lease.is_parted = True
        if is_fault:
            self.lease.failure = why
            error = self.lease.vm.machine.guest.with_console(GuestError(why))
            self._note_failure(error)
            step = _step_of(build)
            if step is not None:
                in_background(step.addCompleteLog("vm", f"{error}\n"), self._worker.name)

    def _note_failure(self, error: GuestError) -> None:
        if not self.lease.vm.is_ended_by_operator:
            self.pool.events.failed(error, host=self.lease.vm.host.name)
        self.pool.history.note_failure(self.lease.vm, error)

    def connection_is_lost(self) -> None:
        """Count it against the job if the connection was lost under its build.

        That may be noticed before the end of the VM is, or without it; and Buildbot may give the
        job its next VM before this one is looked into.
        """
        if self.is_under_build:
            self.lease.failure = f"the worker in VM {self.lease} lost its connection"
            if not self.lease.vm.is_ended_by_operator:
                self.pool.attempts.note_failure(requests_of(self.build), self.lease.failure)
            self._lost_step = _step_of(self.build)
        elif self.lease.idle is not None:
            in_background(self.lease.idle.end(), self._worker.name)

    async def _keep_screen(self) -> None:
        """Keep what it shows with its build, if that has failed."""
        if self.build is None or not self.lease.label.graphics or self.lease.is_silent:
            return
        in_time: Any = Deferred.fromCoroutine(screen.keep(self.build, self.lease.vm.machine))
        await in_background(in_time, "the last screen of a build is lost")

    async def release(self, *, fast: bool) -> None:
        """Let nothing remain of it, unless it is to be held."""
        self._silence_alarms()
        self.build_ended()
        if self.build is not None and self.lease.failure and not self.lease.is_parted:
            await self._report_loss()
        await self.count()
        await self._keep_screen()
        graceful = not fast and not self.lease.failure
        failed = self.has_failed_build and not self.lease.is_parted
        await self.pool.release(self.lease, graceful=graceful, failed=failed)
        if self.build is not None and any(hold.vm is self.lease.vm for hold in self.pool.holds):
            shown = held.show(self.build, self.lease.vm, is_frozen=self.lease.is_to_be_frozen)
            in_background(shown, self._worker.name)
        elif self.build is not None and self.lease.why_not_held:
            log.info("VM {vm} is not held: {why}", vm=self.lease, why=self.lease.why_not_held)
            why, remedy = self.lease.why_not_held, self.lease.hold_remedy
            shown = held.show_why_not(self.build, why, remedy)
            in_background(shown, self._worker.name)

    def _silence_alarms(self) -> None:
        alarms, self._alarms = self._alarms, []
        for alarm in alarms:
            if alarm.active():
                alarm.cancel()

    async def _report_loss(self) -> None:
        """Show a build that has lost its worker what became of its VM."""
        name = self._worker.name
        error = await self.lease.loss(self._worker.master.reactor)
        log.warn("{name}: {error}", name=name, error=str(error))
        self.lease.failure = error.brief
        if not self.lease.vm.is_ended_by_operator:
            self.pool.attempts.amend(requests_of(self.build), error.brief)
        self._note_failure(error)
        try:
            if self._lost_step is not None:
                await self._lost_step.addCompleteLog("vm", f"{error}\n")
        except Exception:  # noqa: BLE001 - whatever the database says, the VM must be torn down
            log.failure("{name}: the build's page lacks the loss of its VM", name=name)


def _step_of(build: Any) -> Any:
    """Return the step that *build* is at: before its first one, that of its preparation."""
    return build.currentStep or getattr(build, "_preparation_step", None)


def abort(conn: Any) -> None:
    """End a connection at once; Buildbot's polite end waits for a guest that does not read."""
    mind = getattr(conn, "mind", None)
    if mind is not None and mind.broker.transport is not None:
        mind.broker.transport.abortConnection()


def requests_of(build: Any) -> tuple[int, ...]:
    """Return the ids of the build requests that *build* is for."""
    return tuple(request.id for request in build.requests)
