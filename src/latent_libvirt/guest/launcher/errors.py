# SPDX-License-Identifier: GPL-2.0-only
"""Error of the launcher, and the end of a VM that shuts down before it was anything."""

from __future__ import annotations


class LauncherError(Exception):
    """The VM cannot become a worker; the text reports the reason to the pool."""


class ButtonPressed(Exception):  # noqa: N818
    """Somebody wants the VM to shut down before it was anything."""
