# SPDX-License-Identifier: GPL-2.0-only
"""Conditions of a thaw: may the VM go on there at all, and is its slot free."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from latent_libvirt.errors import CapacityError, ConfigurationError, HostError
from latent_libvirt.pool.holding.thawing.lacks import what_is_lacking
from latent_libvirt.pool.holding.thawing.waiting import what_it_waits_for
from latent_libvirt.pool.plan import size_of_frozen
from latent_libvirt.status.names import Target

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.errors import LatentLibvirtError
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.pool.holding.frozen import AllFrozen, Frozen
    from latent_libvirt.pool.holding.thawing.thaw import Thaw
    from latent_libvirt.pool.room.allocations import Allocation
    from latent_libvirt.pool.room.capacity import Capacity

ONLY_THERE: Final = (
    "No other host can continue the VM without its memory and disk. Only a file that "
    "'latent-libvirt export' has packed before can: latent-libvirt thaw FILE --uri URI."
)
"""What to do with a VM whose host cannot be reached."""


class Conditions:
    """What has to be true when a VM is thawed.

    :param config: returns the pool's configuration as it is now.
    """

    def __init__(
        self, frozen: AllFrozen, capacity: Capacity, *, config: Callable[[], PoolConfig]
    ) -> None:
        self._frozen = frozen
        self._capacity = capacity
        self._config = config

    def refusal(self, thaw: Thaw) -> LatentLibvirtError | None:
        """Return why the VM cannot be thawed, whatever room there is, or ``None`` if it can."""
        if lack := self.lack(thaw.frozen.vm, thaw.host.name):
            why, remedy = lack
            return ConfigurationError(f"VM {thaw} cannot be thawed: {why}", resolution=remedy)
        if there := self._frozen.may_run(thaw.frozen):
            why, remedy = there
            return HostError(f"VM {thaw} cannot be thawed: {why}", resolution=remedy)
        source = thaw.frozen.host
        if thaw.is_move and not source.usable:
            return HostError(
                f"VM {thaw} cannot be thawed: its memory and disk are on host {source.name}, "
                "which is not usable",
                details=source.trouble,
                resolution=f"See to host {source.name}. {ONLY_THERE}",
            )
        if thaw.frozen.vm.vm_id in source.frozen.busy:
            return CapacityError(f"VM {thaw.frozen} is being thawed already")
        return None

    def lack(self, vm: FrozenVm, host: str) -> tuple[str, str] | None:
        """Return what the configuration lacks for *vm* there, and what to do, or ``None``."""
        return what_is_lacking(vm, host, self._config(), self._capacity.caps)

    def hosts_for(self, frozen: Frozen) -> tuple[str, ...]:
        """Return the hosts on which the configuration lets it be thawed, its own first.

        Other hosts have to be usable, since memory and disk are copied there.
        """
        hosts = (frozen.host, *self._frozen.others_than(frozen.host))
        return tuple(host.name for host in hosts if self.lack(frozen.vm, host.name) is None)

    def is_label_drained(self, thaw: Thaw) -> bool:
        """Whether the VM's label gets no room anywhere."""
        return self._capacity.is_drained(Target("label", thaw.frozen.vm.record.label))

    def has_room(self, thaw: Thaw) -> bool:
        """Whether :meth:`take_room` would return room."""
        vm = thaw.frozen.vm
        size = size_of_frozen(self._config(), vm)
        has_slot = self._capacity.has_slot(vm.record.label, thaw.host.name, vm.slot, size)
        return _is_slot_usable(thaw) and has_slot

    def take_room(self, thaw: Thaw) -> Allocation | None:
        """Take the slot of the VM, or return ``None`` if it is not free."""
        if not _is_slot_usable(thaw):
            return None
        vm = thaw.frozen.vm
        size = size_of_frozen(self._config(), vm)
        return self._capacity.take_slot(vm.record.label, thaw.host.name, vm.slot, size=size)

    def why_no_room(self, thaw: Thaw) -> str:
        """Return, as a sentence without its full stop, what has to end before the VM has room."""
        return what_it_waits_for(thaw.frozen.vm, thaw.host, self._capacity)


def _is_slot_usable(thaw: Thaw) -> bool:
    return thaw.host.usable and thaw.frozen.vm.slot not in thaw.host.blocked_slots
