# SPDX-License-Identifier: GPL-2.0-only
"""A pool remembers in Buildbot's state what it knew before its master was started again."""

from __future__ import annotations

import json
from typing import Any

import pytest_twisted

from latent_libvirt.host.kvm.accelerator import ProbeResult
from latent_libvirt.master.service.memory import PoolMemory


class State:
    """Buildbot's state of one service, as its database has it: in JSON.

    The database itself is in tests/integration.
    """

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def getState(self, key: str, default: object) -> Any:  # noqa: N802 - Buildbot's
        return json.loads(self.values.get(key, json.dumps(default)))

    async def setState(self, key: str, value: object) -> None:  # noqa: N802 - Buildbot's
        self.values[key] = json.dumps(value)


@pytest_twisted.ensureDeferred
async def test_what_was_saved_is_known_to_the_next_process() -> None:
    state: Any = State()
    before, after = PoolMemory(state), PoolMemory(state)
    probe = ProbeResult("KVM does not work", 5.0)

    await before.save("uuid", probe)
    await before.save_rollout("debian-12", {"stable": "new"})
    await before.save_frozen(({"vm_id": "1"},))

    assert await after.load("uuid") == probe
    assert await after.load_rollout("debian-12") == {"stable": "new"}
    assert await after.load_frozen() == [{"vm_id": "1"}]
    assert sorted(state.values) == ["frozen", "kvm/uuid", "rollout/debian-12"]


@pytest_twisted.ensureDeferred
async def test_nothing_is_known_of_what_was_not_saved() -> None:
    state: Any = State()
    memory = PoolMemory(state)

    assert await memory.load("uuid") is None
    assert await memory.load_rollout("debian-12") is None
    assert await memory.load_frozen() == []
