# SPDX-License-Identifier: GPL-2.0-only
"""The errors that people see: what happened, why, and what to do next.

Each class says who has to act. What Buildbot makes of them (RETRY or EXCEPTION) is decided in
``worker.py``. Nothing here knows of Buildbot or libvirt.
"""

from __future__ import annotations


class LatentLibvirtError(Exception):
    """Base of all errors that this package raises on purpose.

    :param brief: one sentence: what went wrong, and with which thing (host, VM, label, file).
    :param details: why, as far as it is known: the message of libvirt, the last console lines.
    :param resolution: what the reader can do next.
    :param gist: the brief without its thing, for a line that is about that thing.
    """

    def __init__(
        self,
        brief: str,
        *,
        details: str | None = None,
        resolution: str | None = None,
        gist: str | None = None,
    ) -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.resolution = resolution
        self.gist = gist or brief

    @property
    def on_one_line(self) -> str:
        """What went wrong, and what to do, as sentences without the last full stop."""
        return ". ".join(filter(None, (self.brief, self.resolution))).removesuffix(".")

    def __str__(self) -> str:
        parts = (self.brief, self.details, self.resolution)
        return "\n".join(part for part in parts if part)


class ConfigurationError(LatentLibvirtError):
    """Somebody has to change the configuration or publish something. A retry cannot help."""


class GivenUpError(ConfigurationError):
    """A job has lost as many VMs as it may. Somebody has to look why before it runs again."""


class CapacityError(LatentLibvirtError):
    """There is no room at this moment. The same request may succeed later, unchanged."""


class HostError(LatentLibvirtError):
    """A host failed: its connection, its storage, or the start of a domain."""


class GuestError(LatentLibvirtError):
    """A VM died, said nothing in time, or broke the handshake."""
