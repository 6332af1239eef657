# SPDX-License-Identifier: GPL-2.0-only
"""The steps of one VM, of which none comes after its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted

from latent_libvirt.errors import GuestError
from latent_libvirt.host.domains.start_errors import SlotTakenError
from latent_libvirt.host.domains.steps import Steps


async def _call(_operation: str, _what: str, function: Any, *args: Any) -> Any:
    """Call it at once: threads are those of the connection, which has tests of its calls."""
    return function("connection", *args)


@pytest.fixture
def steps() -> Steps:
    host: Any = SimpleNamespace(connection=SimpleNamespace(call=_call))
    return Steps(host, "latent-libvirt-1")


@pytest_twisted.ensureDeferred
async def test_no_step_comes_after_the_end(steps: Steps) -> None:
    connection: Any = "connection"
    done: list[object] = []

    assert await steps.call("mark", "do it", lambda given: given) == "connection"
    steps.end(connection, done.append)

    with pytest.raises(GuestError, match="latent-libvirt-1 has been given up"):
        await steps.call("start_domain", "do it", done.append)
    assert done == ["connection"]
    assert steps.are_over


@pytest_twisted.ensureDeferred
async def test_a_slot_that_another_master_has_taken_is_remembered(steps: Steps) -> None:
    def refuse(_connection: object) -> None:
        raise SlotTakenError("it is taken")

    with pytest.raises(SlotTakenError):
        await steps.call("start_domain", "do it", refuse)

    assert steps.came_too_late
