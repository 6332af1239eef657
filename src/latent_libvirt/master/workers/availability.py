# SPDX-License-Identifier: GPL-2.0-only
"""Availability of a worker: what its builds ask for, and whether one may start now.

Buildbot asks that in pieces, which ``question.py`` puts together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from latent_libvirt.master.workers.question import Question
from latent_libvirt.master.workers.standing import Standing
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.master.service.pool_service import PoolService
    from latent_libvirt.master.workers.leased_vm import LeasedVm
    from latent_libvirt.pool.room.amounts import Size
    from latent_libvirt.pool.vm_pool import VmPool


class Availability(Standing):
    """A latent worker that may start a build if its pool has room for a VM.

    :ivar pool_name: the name of its pool among the master's services.
    """

    pool_name: str

    def checkConfig(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of the constructor."""
        super().checkConfig(name, *args, **kwargs)
        self._vm: LeasedVm | None = None
        self._question = Question(name, self.find_pool)

    def find_pool(self) -> VmPool | None:
        """Return its pool, if the master has one of that name."""
        if self.master is None:
            return None
        service = self.master.service_manager.namedServices.get(self.pool_name)
        pool: VmPool | None = getattr(service, "vm_pool", None)  # others may have that name
        return pool

    def _take(self, label: Any, pool: PoolService | str) -> None:
        self._question.label = label
        self.pool_name = pool if isinstance(pool, str) else pool.name

    @property
    def fixed_label(self) -> str:
        """The label of all its builds; nothing if the properties of each decide that."""
        return self._question.fixed_label

    @property
    def label(self) -> Any:
        """What names the label of its builds: a name, or a renderable of their properties."""
        return self._question.label

    @property
    def has_one_answer(self) -> bool:
        """Whether the properties of a build decide neither its label nor its size."""
        pool, label = self.find_pool(), self.fixed_label
        found = None if pool is None else pool.config.labels.get(label)
        return bool(label) and not (found is not None and found.choice)

    @property
    def has_idle_vm(self) -> bool:
        """Whether its VM waits for another build."""
        return self._vm is not None and self._vm.is_idle

    @property
    def idle_vm_suits(self) -> bool:
        """Whether the VM that waits is of the label and size that was asked about last."""
        return self._vm is not None and self._question.suits(self._vm.lease)

    @property
    def is_kept_for_children(self) -> bool:
        """Whether VMs of the label asked about last are only for builds that others wait for."""
        return self._question.is_kept_for_children

    def canStartBuild(self) -> bool:
        """Return whether to ask: not while its VM serves a build, nor if there is no room."""
        if not super().canStartBuild():
            return False
        pool = self.find_pool()
        # Without a pool, builds are to fail and say so, not to wait for ever.
        return self.may_start(
            pool.admission.may_have_room if pool is not None else lambda _label: True
        )

    @property
    def is_free(self) -> bool:
        """Whether it has no VM, and nothing but room may keep it from its next build."""
        return self._vm is None and bool(super().canStartBuild())

    def may_start(self, may_have_room: Callable[[str], bool]) -> bool:
        """Whether a build may start: on a VM that waits for another, or if its label has room."""
        if self._vm is not None:
            return self._vm.is_idle
        # A label that is not known before the build may be any.
        return not isinstance(self.label, str) or may_have_room(self.label)

    def isCompatibleWithBuild(self, build_props: Any) -> Deferred[bool]:
        """Return whether it is worth going on with this build; nothing is kept or ended for it.

        Buildbot asks this before it looks at locks, and may refuse the build afterwards.
        """
        return Deferred.fromCoroutine(self._may_build(build_props))

    async def _may_build(self, properties: Any) -> bool:
        await self._question.ask(properties)
        return self._question.is_worthwhile(self._vm)

    async def take_room(self, *, awaited: bool) -> bool:
        """Return whether there is room for the VM of the build last asked about; if so, keep it.

        :param awaited: whether another build waits for this one.

        Called when Buildbot has nothing against the build (``last_word.py``). A cap in
        ``canStartBuild`` would not hold: the distributor takes its list of available workers once.
        """
        lease = None if self._vm is None else self._vm.lease
        now = passed(self.master.reactor)
        return self._question.take_room(lease, awaited=awaited, now=now)

    async def vm_for(self, properties: Any) -> tuple[str, Size | None]:
        """Return the label that a build with *properties* asks for, and the size that it chooses.

        :raises ConfigurationError: if there is no such label to ask for, or no such size.
        """
        return await self._question.wanted(properties)
