# SPDX-License-Identifier: GPL-2.0-only
"""Memory of a pool from one master process to the next, in Buildbot's database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from latent_libvirt.host.kvm.accelerator import ProbeResult

if TYPE_CHECKING:
    from buildbot.util.state import StateMixin


class PoolMemory:
    """What is known of hosts, images and frozen VMs.

    :param state: the service in whose name Buildbot keeps it.
    """

    def __init__(self, state: StateMixin) -> None:
        self._state = state

    # Probes of KVM (host.kvm.accelerator.ProbeMemory).

    async def load(self, host_uuid: str) -> ProbeResult | None:
        """Return the last result of a KVM probe on that host."""
        state = await self._state.getState(f"kvm/{host_uuid}", None)
        return None if state is None else ProbeResult(**state)

    async def save(self, host_uuid: str, result: ProbeResult) -> None:
        """Remember the result of a KVM probe."""
        await self._state.setState(f"kvm/{host_uuid}", vars(result))

    # Roll-outs (pool.records.rollout.canaries.RolloutMemory).

    async def load_rollout(self, image: str) -> Mapping[str, Any] | None:
        """Return what was saved of the roll-out of that image."""
        state = await self._state.getState(f"rollout/{image}", None)
        return cast("Mapping[str, Any] | None", state)

    async def save_rollout(self, image: str, values: Mapping[str, Any]) -> None:
        """Remember the roll-out of that image."""
        await self._state.setState(f"rollout/{image}", dict(values))

    # Frozen VMs (pool.holding.notes.FrozenMemory).

    async def load_frozen(self) -> Sequence[Mapping[str, Any]]:
        """Return the notes of frozen VMs that were saved."""
        return cast("Sequence[Mapping[str, Any]]", await self._state.getState("frozen", []))

    async def save_frozen(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Save notes of frozen VMs."""
        await self._state.setState("frozen", list(notes))
