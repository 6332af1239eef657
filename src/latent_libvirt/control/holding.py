# SPDX-License-Identifier: GPL-2.0-only
"""Requests of operators for VMs that are held or frozen, or that will be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from latent_libvirt.config.units import format_duration
from latent_libvirt.control import vms
from latent_libvirt.control.known_vms import HeldVm
from latent_libvirt.control.messages import ControlError
from latent_libvirt.deferreds import in_background
from latent_libvirt.pool.holding import asked
from latent_libvirt.pool.holding.holds import in_words
from latent_libvirt.pool.holding.thawing.conditions import ONLY_THERE
from latent_libvirt.status.answers import Thawed, WillBeHeld

if TYPE_CHECKING:
    from latent_libvirt.control.known_vms import FrozenVm, KnownVms, LeasedVm
    from latent_libvirt.pool.vm_pool import VmPool
    from latent_libvirt.status.names import VmNames

log = Logger()

_ANY: Final = "somebody"
"""The user who asks, where nobody says who that is."""


class Holding:
    """What an operator may ask for about such VMs of *pool*.

    :param known: all its VMs.
    """

    def __init__(self, pool: VmPool, known: KnownVms) -> None:
        self._pool = pool
        self._known = known

    async def hold(self, name: str, seconds: float, user: str = "") -> WillBeHeld:
        """Hold the VM of that name once its job has ended, or longer if it is held already.

        :param seconds: for how long, from the end of its job; from now if that has ended.
        :param user: who asks, empty if that is not known.
        :raises ControlError: if no job has such a VM, or the VM is about to go, or is held for
            longer already.
        """
        there: list[LeasedVm | HeldVm] = [*self._known.leased(), *self._known.held()]
        found = vms.find(there, name, self._known.others())
        if isinstance(found, HeldVm):
            return await self._prolong(found, seconds, user)
        return await self._hold(found, seconds, user)

    async def _prolong(self, found: HeldVm, seconds: float, user: str) -> WillBeHeld:
        hold = found.hold
        _refuse_to_prolong(found, seconds, is_freezing=self._pool.freezer.is_freezing(hold))
        log.info("VM {vm} is to be held longer for {user}", vm=str(found.names), user=user or _ANY)
        await self._pool.holds.prolong(hold, seconds)
        if self._pool.holds.of(hold.vm) is not hold:
            raise ControlError(
                f"VM {found.names} is not held any more",
                resolution="'latent-libvirt status' shows what has become of it.",
            )
        return WillBeHeld(found.names, in_words(hold.until, self._pool.now))

    async def _hold(self, found: LeasedVm, seconds: float, user: str) -> WillBeHeld:
        lease = found.lease
        if lease.released or lease.vm.ending is not None:
            raise ControlError(
                f"VM {found.names} cannot be held any more",
                details="Its job has ended, or the VM was lost.",
                resolution="'latent-libvirt status' shows what has become of it.",
            )
        if lease.hold_for is not None and seconds < lease.hold_for:
            raise ControlError(
                f"VM {found.names} will be held for longer already, for "
                f"{format_duration(lease.hold_for)}",
                resolution="Ask for more than that with --for. 'latent-libvirt hold NAME --cancel' "
                "takes the hold back.",
            )
        log.info("VM {vm} is to be held for {user}", vm=str(found.names), user=user or _ANY)
        lease.ask_hold(seconds, user)
        if lease.idle is not None:
            in_background(lease.idle.end(), "hold")
        else:
            await asked.record(lease)
        return WillBeHeld(found.names, after_job=format_duration(seconds))

    async def cancel_hold(self, name: str) -> VmNames:
        """Do not hold the VM of that name once its job has ended; return what it is called.

        :raises ControlError: if no job has such a VM, or nobody has asked to hold it, or its job
            has ended.
        """
        found = self._find_leased(name)
        lease = found.lease
        if lease.hold_for is None:
            raise ControlError(
                f"VM {found.names} is not to be held",
                details="Nobody has asked for that.",
                resolution="'latent-libvirt status' shows the VMs that will be held.",
            )
        if lease.released or lease.idle is not None:
            raise ControlError(
                f"the job of VM {found.names} has ended, and the VM is about to be held",
                resolution="'latent-libvirt release' deletes it then.",
            )
        log.info("VM {vm} is not to be held any more", vm=str(found.names))
        lease.drop_hold()
        await asked.record(lease)
        return found.names

    def _find_leased(self, name: str) -> LeasedVm:
        return vms.find(self._known.leased(), name, self._known.others())

    async def release(self, name: str) -> VmNames:
        """End a VM that is held or frozen; return what it was called when nothing of it is left.

        :raises ControlError: if no such VM is held or frozen.
        """
        pool = self._pool
        kept: list[HeldVm | FrozenVm] = [*self._known.held(), *self._known.frozen()]
        found = vms.find(kept, name, self._known.others())
        log.info("VM {vm} is released", vm=str(found.names))
        if isinstance(found, HeldVm):
            await pool.holds.release(found.hold)
        else:
            await pool.thaws.release(found.frozen)
        return found.names

    async def thaw(self, name: str, seconds: float | None, host: str | None = None) -> Thawed:
        """Let a frozen VM go on; return what became of it.

        :param seconds: for how long it is held then; ``None``: until its deadline.
        :param host: the name of the host, which is configured, on which it is to go on; ``None``:
            on its own.
        :raises LatentLibvirtError: if there is no such VM, or it cannot be thawed.
        """
        found = self._known.find_frozen(name, advice="" if host is None else ONLY_THERE)
        log.info("frozen VM {vm} is to be thawed", vm=str(found.names))
        target = None if host is None else self._pool.hosts[host]
        hold = await self._pool.thaws.thaw(found.frozen, seconds, host=target)
        other = "" if host in (None, found.frozen.host.name) else str(host)
        why = self._pool.thaws.waits_for(found.frozen)
        return Thawed(str(found.names), is_waiting=hold is None, host=other, waits_for=why)

    def cancel_thaw(self, name: str) -> VmNames:
        """Let a frozen VM that waits to be thawed stay frozen; return what it is called.

        :raises ControlError: if there is no such VM, or it does not wait.
        """
        found = self._known.find_frozen(name)
        if not self._pool.thaws.cancel(found.frozen):
            raise ControlError(
                f"frozen VM {found.names} does not wait to be thawed",
                resolution="'latent-libvirt status' shows those that do. 'latent-libvirt release' "
                "ends one that is being thawed.",
            )
        return found.names


def _refuse_to_prolong(found: HeldVm, seconds: float, *, is_freezing: bool) -> None:
    """Refuse a hold that would be shorter, or of a VM that leaves its slot.

    :raises ControlError: if it is one.
    """
    if is_freezing:
        raise ControlError(
            f"VM {found.names} is being frozen",
            resolution="'latent-libvirt thaw NAME --for' continues it, and holds it for that long.",
        )
    if seconds <= found.hold.seconds_left:
        left = format_duration(float(int(found.hold.seconds_left)))
        raise ControlError(
            f"VM {found.names} is held for longer already, for {left} more",
            resolution="Ask for more than that with --for. 'latent-libvirt release' deletes it.",
        )
