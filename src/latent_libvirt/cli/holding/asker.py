# SPDX-License-Identifier: GPL-2.0-only
"""The name of the user who runs a command, for the master's status and its audit log."""

from __future__ import annotations

import getpass
import os

from latent_libvirt.control.messages import LONGEST_USER


def asker() -> str:
    """Return who asks; a user who has no name, as in a container, by number."""
    try:
        return getpass.getuser()[:LONGEST_USER]
    except (KeyError, OSError):  # the second from Python 3.13 on
        return f"user {os.getuid()}"
