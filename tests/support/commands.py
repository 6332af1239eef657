# SPDX-License-Identifier: GPL-2.0-only
"""The latent-libvirt command, as an operator runs it in a master's base directory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import children
from buildmaster import DEADLINE, BuildMaster

COMMAND = Path(sys.executable).with_name("latent-libvirt")


def run(master: BuildMaster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command; return what became of it."""
    return subprocess.run(
        [*children.WITH_US, COMMAND, *arguments],
        cwd=master.directory,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def told(master: BuildMaster, *arguments: str) -> str:
    """Run the command, which has to succeed; return what it said."""
    result = run(master, *arguments)
    assert (result.returncode, result.stderr) == (0, ""), (result.returncode, result.stderr)
    return result.stdout


def status(master: BuildMaster) -> dict[str, Any]:
    """Return the status of the master's pool."""
    document: dict[str, Any] = json.loads(told(master, "status", "--json"))
    return document
