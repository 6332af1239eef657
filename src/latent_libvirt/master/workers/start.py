# SPDX-License-Identifier: GPL-2.0-only
"""Start of a VM for a build, which may be given up until the worker in the VM has attached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from buildbot.interfaces import (
    LatentWorkerCannotSubstantiate,
    LatentWorkerFailedToSubstantiate,
    LatentWorkerSubstantiatiationCancelled,
)
from twisted.internet.defer import CancelledError, Deferred

from latent_libvirt.errors import ConfigurationError, GivenUpError, LatentLibvirtError
from latent_libvirt.master.workers import needs, preparation
from latent_libvirt.master.workers.leased_vm import LeasedVm, abort, requests_of

if TYPE_CHECKING:
    from latent_libvirt.guest.protocol import Identity
    from latent_libvirt.master.workers.availability import Availability
    from latent_libvirt.master.workers.password import SingleUsePassword
    from latent_libvirt.pool.vm import VM


class Start:
    """The start of a VM for *build*. Its failure is one that Buildbot knows what to do with.

    :param worker: that the VM is for.
    :param given: called with the VM once there is a lease, before it comes up.
    :param password: of the worker, which each VM gets another one of.
    """

    def __init__(
        self,
        worker: Availability,
        build: Any,
        *,
        given: Callable[[LeasedVm], None],
        password: SingleUsePassword,
    ) -> None:
        self._worker = worker
        self._build = build
        self._given = given
        self._password = password
        self._vm: LeasedVm | None = None
        self._end: Deferred[bool] | None = None

    def begin(self) -> Deferred[bool]:
        """Bring a VM up; fires once its worker has attached.

        :raises LatentWorkerFailedToSubstantiate: the build is to run again.
        :raises LatentWorkerCannotSubstantiate: the build is to end, since that would not help.
        :raises LatentWorkerSubstantiatiationCancelled: the start was given up.
        """
        self._end = Deferred.fromCoroutine(self._run())
        return self._end

    @property
    def is_under_way(self) -> bool:
        """Whether it has not ended yet."""
        return self._end is not None and not self._end.called

    def give_up(self) -> None:
        """End it now, if it is under way; Buildbot would wait for that."""
        if self._end is not None and self.is_under_way:
            self._end.cancel()

    async def _run(self) -> bool:
        try:
            _refuse_if_stopped(self._build)
            with self._failures_counted():
                await self._bring_up()
        except CancelledError:
            raise LatentWorkerSubstantiatiationCancelled from None
        except ConfigurationError as error:
            self._worker.is_suspect = self._vm is not None and bool(self._vm.lease.lost)
            raise LatentWorkerCannotSubstantiate(str(error)) from error
        except LatentLibvirtError as error:
            # The worker's rest keeps the retry from coming at once.
            self._worker.is_suspect = True
            raise LatentWorkerFailedToSubstantiate(str(error)) from error
        self._worker.is_suspect = False
        return True

    @contextmanager
    def _failures_counted(self) -> Iterator[None]:
        """Count what failed without a VM; those of VMs are counted where they happen."""
        try:
            yield
        except LatentLibvirtError as error:
            pool = self._worker.find_pool()
            if pool is not None and (self._vm is None or isinstance(error, GivenUpError)):
                pool.events.failed(error)
            raise

    async def _bring_up(self) -> None:
        worker, build = self._worker, self._build
        label, size = await worker.vm_for(build.getProperties())
        pool = needs.need_pool(worker.find_pool(), worker.name, worker.pool_name)
        port = needs.need_port(worker.registration)  # without one, no VM is of use
        if not pool.uses_channel(label):
            port.address()
        lease = pool.lease(worker.name, label, requests_of(build), size)
        vm = self._vm = LeasedVm(lease, pool, worker)
        self._given(vm)
        await vm.note_job(build)
        with preparation.shown(build, lease, worker.master.reactor):
            await pool.bring_up(lease, partial(self._identify, vm))
        vm.begin(build)

    async def _identify(self, vm: LeasedVm, machine: VM) -> Identity:
        """Return who *machine* is to be; its build may start at any time from now on."""
        worker = self._worker
        abort(worker.conn)  # of a VM before, which has not attached in time
        vm.set_properties(self._build)
        password = self._password.renew(str(machine))
        return await vm.pool.identity(
            machine, worker.name, password=password, port=needs.need_port(worker.registration)
        )


def _refuse_if_stopped(build: Any) -> None:
    """Start no VM for a build that was stopped before it asked for one.

    Buildbot 4.3 asks all the same, and nobody would give up that start: a master that is to stop
    would wait for it.

    :raises CancelledError: the build has been stopped.
    """
    if build.stopped:
        raise CancelledError
