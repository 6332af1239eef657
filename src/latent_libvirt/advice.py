# SPDX-License-Identifier: GPL-2.0-only
"""Command lines as people paste them into a shell: whatever is in a name, it stays one word."""

from __future__ import annotations

import shlex


def command(*words: str) -> str:
    """Return *words* as one command line, each quoted where the shell needs it."""
    return shlex.join(words)


def virsh(uri: str, *words: str) -> str:
    """Return the command line that lets virsh do something on the host at *uri*."""
    return command("virsh", "-c", uri, *words)


def listed(*commands: str) -> str:
    """Return *commands* on separate lines, so that nothing around them is pasted with them."""
    return "".join(f"\n  {each}" for each in commands)
