# SPDX-License-Identifier: GPL-2.0-only
"""LibvirtLatentWorker: what Buildbot asks of a latent worker, answered with a lease of the pool.

Nothing here speaks libvirt. The contract beyond Buildbot's documentation is that of
``buildbot/worker/latent.py`` of 4.3.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from buildbot.interfaces import LatentWorkerSubstantiatiationCancelled
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from latent_libvirt.deferreds import in_background
from latent_libvirt.master.page import links
from latent_libvirt.master.service.pool_service import DEFAULT_NAME
from latent_libvirt.master.workers import arguments, info, portless
from latent_libvirt.master.workers.availability import Availability
from latent_libvirt.master.workers.early_locks import EarlyLocks
from latent_libvirt.master.workers.early_stop import EarlyStop
from latent_libvirt.master.workers.leased_vm import abort
from latent_libvirt.master.workers.password import SingleUsePassword, Unrendered
from latent_libvirt.master.workers.prompt_attach import PromptAttach, is_lost
from latent_libvirt.master.workers.start import Start
from latent_libvirt.pool.lease import Idle
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.master.service.pool_service import PoolService
    from latent_libvirt.master.workers.leased_vm import LeasedVm

_CANCEL_TIMEOUT = 30.0
"""Seconds that a step may take to end when its build is stopped, if no label says it."""


class LibvirtLatentWorker(EarlyLocks, EarlyStop, Availability, PromptAttach):
    """A worker that gets a clean VM from a pool for each build.

    :param name: the worker's name.
    :param pool: the pool, or its name, that is among the master's services.
    :param label: what VM a build gets: the name of one of the pool's labels, or a renderable of the
        build's properties; its value is looked up among the labels and used for nothing else.

    Further keyword arguments are those of Buildbot's workers, except ``password``, ``max_builds``
    and ``build_wait_timeout``: a VM serves one build at a time, as many as its label says, and a
    password one connection.
    """

    builds_may_be_incompatible = True
    notify_on_missing: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        name, given = arguments.checked(args, kwargs)
        super().__init__(name, **given)

    def checkConfig(
        self, name: str, *, label: Any, pool: PoolService | str = DEFAULT_NAME, **kwargs: Any
    ) -> None:
        """Take the arguments of the constructor."""
        super().checkConfig(name, None, **_one_build_per_vm(kwargs))
        self._password = SingleUsePassword()
        self._start: Start | None = None
        self._attaching: Any = None
        self._take(label, pool)

    def reconfigService(
        self, name: str, *, label: Any, pool: PoolService | str = DEFAULT_NAME, **kwargs: Any
    ) -> Deferred[None]:
        """Apply the arguments; a VM that runs is kept."""
        self._take(label, pool)
        return Deferred.fromCoroutine(self._reconfigure(name, _one_build_per_vm(kwargs)))

    async def _reconfigure(self, name: str, arguments: dict[str, Any]) -> None:
        await super().reconfigService(name, Unrendered(self._password), **arguments)
        await portless.register(self, self.master.config.protocols)

    def buildStarted(self, wfb: Any) -> None:
        """Keep the room: the build request is claimed."""
        pool = self.find_pool()
        if pool is not None:
            pool.admission.confirm_reservation(self.name)
        self.acquireLocks()
        super().buildStarted(wfb)
        self._is_taken()

    def start_failed(self) -> None:
        """Give the room back: Buildbot could not even begin to start the build."""
        pool = self.find_pool()
        if pool is not None:
            pool.admission.cancel_reservation(self.name)

    def buildFinished(self, wfb: Any) -> None:
        """Give the room back if the build ended before it asked for its VM."""
        self.start_failed()
        if self._vm is not None:
            self._vm.build_ended()
        self.releaseLocks()
        self.build_wait_timeout = self._rest(self._vm)
        super().buildFinished(wfb)

    def _rest(self, vm: LeasedVm | None) -> float:
        """Keep the VM for another build, if its label wants so; return for how many seconds."""
        if vm is None or self.conn is None or self._graceful or not vm.lease.serves_more:
            return 0
        if vm.has_failed_build and vm.lease.label.hold_on_failure:
            return 0
        seconds = vm.lease.idle_time(passed(self.master.reactor))
        if seconds > 0:
            vm.lease.rest(Idle(self._end_idle_vm))
            in_background(vm.count(), f"{self.name}: usage")
        return seconds

    def _end_idle_vm(self) -> Deferred[None]:
        if self._vm is not None:
            self._vm.lease.idle = None
        abort(self.conn)
        return self.insubstantiate()

    def substantiate(self, wfb: Any, build: Any) -> Deferred[bool]:
        """Give the build a VM, or the one that another build has left."""
        if self.substantiated and self._vm is not None and self._vm.is_idle:
            self._vm.serve_again(build)
        ready: Deferred[bool] = super().substantiate(wfb, build)
        return ready.addCallback(self._see_it_begin, build)

    def _see_it_begin(self, ready: bool, build: Any) -> bool:
        """See to it that a guest that does not answer before the first step is noticed."""
        if ready and self._vm is not None:
            self._vm.watch_start_of(build)
        return ready

    def updateWorker(self) -> Any:
        """Join the builders that name this worker, also one that a reconfig has made again.

        Buildbot 4.3 knows a builder by its name, and takes a new one for joined (#9135).
        """
        builders = self.botmaster.builders
        for name, wfb in tuple(self.workerforbuilders.items()):
            if builders.get(name) is not wfb.builder and not wfb.isBusy():
                del self.workerforbuilders[name]
        return super().updateWorker()

    # The VM.

    def start_instance(self, build: Any) -> Deferred[bool]:
        """Give the build a VM; fires once its worker has attached.

        Waiting for that here, rather than leaving it to Buildbot's polls of ``check_instance``,
        notices at once when the VM ends before.
        """
        self._start = Start(self, build, given=self._has, password=self._password)
        return self._start.begin()

    def _has(self, vm: LeasedVm) -> None:
        self._vm = vm

    def attached(self, conn: Any) -> Deferred[None]:
        """Take the connection, and make its password worthless for any other."""
        return Deferred.fromCoroutine(self._attached(conn))

    async def _attached(self, conn: Any) -> None:
        conn.info = info.fit(conn.info)
        if (link := links.link_to(self.master, self.name)) is not None:
            conn.info[info.LINK] = link
        self._attaching = conn
        try:
            await super().attached(conn)
        finally:
            self._attaching = None
        if self.conn is not conn:
            return  # it is lost, and the password may be that of the next VM by now
        self._password.renew()
        if self._vm is not None:
            self._vm.lease.attached()

    def _substantiation_failed(self, failure: Failure | Exception) -> Any:
        """Leave a connection that is lost while it attaches to the start that is under way.

        That gives the build another VM, where Buildbot would end the build. And no mail is sent
        that a worker is missing (``notify_on_missing``) whose start was given up.
        """
        if self._attaching is not None and is_lost(self._attaching) and self._is_starting:
            return None
        error = failure.value if isinstance(failure, Failure) else failure
        told = self.notify_on_missing
        if isinstance(error, LatentWorkerSubstantiatiationCancelled):
            self.notify_on_missing = []
        try:
            return super()._substantiation_failed(failure)
        finally:
            self.notify_on_missing = told

    def detached(self) -> Deferred[None]:
        """Count a connection that is lost under its build against the job."""
        if self._vm is not None:
            self._vm.connection_is_lost()
        return super().detached()

    def stop_instance(self, fast: bool = False) -> Deferred[bool]:
        """Let nothing remain of the VM."""
        return Deferred.fromCoroutine(self._stop_vm(fast=fast))

    async def _stop_vm(self, *, fast: bool) -> bool:
        self._password.renew()
        try:
            if self._vm is not None:
                await self._vm.release(fast=fast)
        finally:
            self._vm = None
            self._is_shut_down()
            # On a bridge, TCP does not notice for many minutes that the guest has gone.
            abort(self.conn)
        return True

    def insubstantiate(
        self, fast: bool = False, force_substantiation_build: Any = None
    ) -> Deferred[None]:
        """Give up a start that is under way; Buildbot would wait for it to end on its own."""
        self._give_up_start()
        return super().insubstantiate(fast, force_substantiation_build)

    def stopService(self) -> Deferred[None]:
        """Give up a start of a VM that is under way, release the VM, and stop."""
        self._give_up_start()
        return super().stopService()

    @property
    def _is_starting(self) -> bool:
        return self._start is not None and self._start.is_under_way

    def _give_up_start(self) -> None:
        if self._start is not None:
            self._start.give_up()

    # Parting with a guest that does not answer (build_ends.Parting).

    @property
    def cancel_timeout(self) -> float:
        """Seconds that a step may take to end when its build is stopped."""
        return _CANCEL_TIMEOUT if self._vm is None else self._vm.lease.label.cancel_timeout

    @property
    def guest(self) -> str:
        """The VM that it has, for people."""
        return f"worker {self.name}" if self._vm is None else str(self._vm)

    def part(self, build: Any, why: str, *, is_fault: bool) -> None:
        """End the VM and the connection of *build* without asking the guest."""
        if self._vm is not None:
            self._vm.part(build, why, is_fault=is_fault)
        in_background(self.insubstantiate(fast=True), self.name)
        abort(self.conn)

    # Stopped by somebody.

    def shutdownRequested(self) -> None:
        """End the VM after its build, or now if there is none; builds that come get others.

        Buildbot's workers build no more until they connect again. This one connects for builds
        only, so that nothing would ever end that; and each guest may ask for it.
        """
        if self._vm is not None:
            self._graceful = True
        self._update_graceful()
        if self.has_idle_vm:
            in_background(self._end_idle_vm(), self.name)

    def _is_shut_down(self) -> None:
        if self._graceful:
            self._graceful = False
            self._update_graceful()

    def shutdown(self) -> Deferred[None]:
        """End the VM now, whatever its guest says; a build that it has is run again."""
        if self.has_idle_vm:
            return self._end_idle_vm()
        abort(self.conn)
        return succeed(None)


def _one_build_per_vm(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments for AbstractLatentWorker; the lease has separate deadlines."""
    return {"missing_timeout": None, **kwargs, "build_wait_timeout": 0, "max_builds": 1}
