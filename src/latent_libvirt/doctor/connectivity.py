# SPDX-License-Identifier: GPL-2.0-only
"""Check that the host's libvirt answers in time, and is new enough."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from twisted.internet.task import deferLater

from latent_libvirt.advice import command, listed, page, virsh
from latent_libvirt.doctor.finding import fine, warning
from latent_libvirt.doctor.stopwatch import Stopwatch
from latent_libvirt.errors import HostError
from latent_libvirt.host import inspection

if TYPE_CHECKING:
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.doctor.host_under_test import (
        HostUnderTest,
    )

CHECK = "reachable"

DEADLINE = 20.0
"""Seconds that libvirt may take to answer."""

OLDEST_LIBVIRT = (9, 0, 0)
_POLL = 0.05


async def check(tested: HostUnderTest) -> list[Finding]:
    """Wait until the host is connected.

    :raises HostError: if it refuses, or does not answer in time.
    """
    taken = Stopwatch()
    connection = tested.host.connection
    while not connection.is_up:
        if connection.last_reason or taken.seconds > DEADLINE:
            reason = connection.last_reason or f"no answer within {DEADLINE:g} s"
            raise HostError(
                f"{tested.config.uri} cannot be reached",
                details=reason,
                resolution=advice(tested.config.uri, reason),
            )
        await deferLater(tested.reactor, _POLL, lambda: None)
    seconds = taken.seconds
    version, qemu = await connection.call("examine", "report its version", inspection.versions)
    answer = f"libvirt {_text(version)}, QEMU {_text(qemu)}, connected in {seconds:.2f} s"
    if version < OLDEST_LIBVIRT:
        wanted = f"Upgrade it to {_text(OLDEST_LIBVIRT)} or newer: nothing older is tested."
        return [warning(CHECK, answer, details="This libvirt is old.", resolution=wanted)]
    return [fine(CHECK, answer)]


def advice(uri: str, reason: str) -> str:
    """Return what to do about a libvirt that does not answer."""
    parts = urlsplit(uri)
    transport = parts.scheme.partition("+")[2]
    if "ssh" in transport:
        user = f"{parts.username}@" if parts.username else ""
        port = ("-p", str(parts.port)) if parts.port else ()
        trial = command("ssh", *port, f"{user}{parts.hostname}", "true")
        first = f"'{trial}' must work without asking anything."
    elif "certificate" in reason.lower():
        first = (
            "Each side must have a certificate that the other's authority has signed, and the "
            "host's must be for the name in the URI "
            f"({page('docs/how-to/connect-a-remote-host.md')})."
        )
    elif "ermission denied" in reason or "authentication" in reason:
        first = "Add the user to the group libvirt there, and log in again."
    elif "Failed to connect socket" in reason:
        first = "Start it: systemctl start libvirtd (or virtqemud, where libvirt is modular)."
    else:
        first = "See that libvirtd runs there and is not stuck, and that no firewall is between."
    proof = listed(virsh(uri, "version"))
    return f"{first} Then this must answer, as the user the master runs as:{proof}"


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
