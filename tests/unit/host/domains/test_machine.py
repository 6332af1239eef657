# SPDX-License-Identifier: GPL-2.0-only
"""What a master learns of a VM of an earlier one, as soon as it listens to it.

libvirt is a fake: a VM cannot be brought to be paused in each of these ways.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from latent_libvirt.config import ImageConfig, LabelConfig
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.machine import Machine
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.vm_spec import VmSpec

PAUSED, RUNNING = libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_RUNNING


class Connection:
    """A connection whose calls return at once."""

    host = "alpha"
    uri = "qemu:///system"

    async def call(
        self, _operation: str, _what: str, function: Callable[..., Any], *arguments: Any
    ) -> Any:
        return function(self, *arguments)


@dataclass
class Found:
    """A VM of an earlier master, to which the next one has listened.

    :param ends: why it has ended, if it has.
    """

    machine: Machine
    ends: list[str]


Listen = Callable[[tuple[int, int] | None], Found]


@pytest.fixture(params=["", "held"], ids=["spare", "held"])
def listened(request: pytest.FixtureRequest) -> Listen:
    def listen(state: tuple[int, int] | None) -> Found:
        """Listen to a VM whose domain has *state*."""
        clock = Clock()
        record = VmRecord("o", "m", "p", "1", "one", "w", "i", "", state=request.param)
        vm = VmSpec(LabelConfig(image="one"), ImageConfig(name="one"))
        host: Any = SimpleNamespace(
            reactor=clock,
            uuid="host",
            architecture="x86_64",
            connection=Connection(),
            change_domain=None,
        )
        machine = Machine.found_running(host, MachinePlan(1, record, vm))
        calls: Any = SimpleNamespace(
            open_console=lambda *_: None, open_streams=lambda *_: None, state=lambda _: state
        )
        machine.calls = calls
        found = Found(machine, [])

        def note(failure: Failure) -> None:
            found.ends.append(failure.getErrorMessage())

        machine.guest.expect().addErrback(note)
        assert Deferred.fromCoroutine(machine.listen()).called
        clock.advance(10)
        return found

    return listen


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (libvirt.VIR_DOMAIN_PAUSED_IOERROR, "storage pool is full"),
        (libvirt.VIR_DOMAIN_PAUSED_WATCHDOG, "watchdog"),
    ],
)
def test_a_vm_whose_disk_or_watchdog_has_paused_it_while_no_master_ran_is_lost(
    listened: Listen, reason: int, why: str
) -> None:
    (end,) = listened((PAUSED, reason)).ends

    assert why in end


def test_a_vm_that_somebody_has_suspended_while_no_master_ran_says_so(listened: Listen) -> None:
    found = listened((PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER))

    assert found.machine.pause == "somebody has suspended it"
    assert not found.ends


def test_a_vm_that_runs_is_neither_paused_nor_lost(listened: Listen) -> None:
    found = listened((RUNNING, libvirt.VIR_DOMAIN_RUNNING_UNPAUSED))

    assert not found.machine.pause
    assert not found.ends


def test_a_vm_that_ends_before_its_master_listens_to_it_is_lost(listened: Listen) -> None:
    (end,) = listened(None).ends

    assert "before its master could listen" in end
