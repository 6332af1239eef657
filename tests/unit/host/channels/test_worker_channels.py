# SPDX-License-Identifier: GPL-2.0-only
"""Channels of a host that does not do what libvirt says.

The host is a fake, for no real one returns such things. Real channels are in tests/integration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import libvirt
import pytest
import pytest_twisted
from twisted.internet import reactor

from latent_libvirt.errors import GuestError, HostError
from latent_libvirt.host.channels.worker_channels import WorkerChannels
from latent_libvirt.host.channels.worker_link import WorkerLink

SESSION = "0123456789abcdef"


class _Connection:
    def registerCloseCallback(self, *_arguments: object) -> None:  # noqa: N802 - libvirt's
        """Never close."""

    def close(self) -> None:
        """Do nothing."""


def raises(error: Exception) -> Callable[[Any], Any]:
    def find(_connection: object) -> None:
        raise error

    return find


async def opened(find: Callable[[Any], Any]) -> None:
    """Open the channel of a VM of which *find* tells."""
    channels = WorkerChannels(
        "alpha", lambda: cast("libvirt.virConnect", _Connection()), reactor=reactor
    )
    link = WorkerLink("VM 1", SESSION, None, reactor=reactor)
    try:
        await channels.line(link, find)
    finally:
        channels.stop()


@pytest.mark.parametrize(
    "error",
    [
        libvirt.libvirtError("no"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
        TypeError("no"),
        RuntimeError("no"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_whatever_a_host_raises_is_an_error_of_that_host(error: Exception) -> None:
    with pytest.raises(HostError, match=r"host alpha could not open channel .* of VM 1") as caught:
        await opened(raises(error))

    assert "no" in str(caught.value.details)


@pytest_twisted.ensureDeferred
async def test_a_vm_that_has_ended_is_no_error_of_its_host() -> None:
    with pytest.raises(GuestError, match="VM 1 has ended"):
        await opened(lambda _connection: None)
