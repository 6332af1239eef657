# SPDX-License-Identifier: GPL-2.0-only
"""Finding of a check: fine, questionable or wrong, and then the cause and the remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.errors import LatentLibvirtError


class Status(StrEnum):
    """Severity of a finding. Only ``FAILED`` means that jobs will not get their VMs."""

    FINE = "fine"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One line of the checklist.

    :param check: what was looked at, in a word or two.
    :param brief: what was found.
    :param details: why, if it is not fine.
    :param resolution: what to do, if it is not fine.
    """

    check: str
    status: Status
    brief: str
    details: str | None = None
    resolution: str | None = None


def fine(check: str, brief: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Status.FINE, brief)


def warning(check: str, brief: str, *, details: str | None = None, resolution: str) -> Finding:
    """Return something that works, but not as it should."""
    return Finding(check, Status.WARNING, brief, details, resolution)


def failed(check: str, error: LatentLibvirtError, *, resolution: str) -> Finding:
    """Return what went wrong.

    :param resolution: what to do if the error itself does not say.
    """
    return Finding(check, Status.FAILED, error.brief, error.details, error.resolution or resolution)
