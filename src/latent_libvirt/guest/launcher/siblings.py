# SPDX-License-Identifier: GPL-2.0-only
"""Siblings of a VM that was saved: others resume from the same memory and the same disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from .network import has_network_card

_RENEW_ADDRESS: Final = Path("/usr/lib/latent-libvirt/renew-address")
_LEASE_SECONDS: Final = Path("/run/latent-libvirt/lease-seconds")
_SETTLE_DEADLINE: Final = 50.0


def get_ready_to_be_saved() -> float:
    """Let what goes on in the machine come to its end; return what its clock says then.

    All that is not done now would be done again in each VM that is resumed.
    """
    if Path("/run/systemd/system").is_dir():
        run(["systemctl", "is-system-running", "--wait"], seconds=_SETTLE_DEADLINE)
    os.sync()
    return time.time()


def run(command: list[str], *, seconds: float) -> None:
    """Run a program of the image, and get over it if that fails: the console tells."""
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"latent-libvirt launcher: {error}\n")


def part_from_siblings(*, asleep: float) -> None:
    """Give up what a VM shares with others that were resumed from the same state.

    :param asleep: seconds since it was saved.
    """
    renew_ssh_host_keys()
    if _RENEW_ADDRESS.exists() and has_network_card() and is_due(asleep):
        run([str(_RENEW_ADDRESS)], seconds=10)


def is_due(asleep: float, lease: Path = _LEASE_SECONDS) -> bool:
    """Tell whether the DHCP lease of the machine's address has to be renewed.

    That is so after half of its time (RFC 2131, 4.4.5), which has passed on no clock of this
    machine. Where nobody wrote down how long it is, it is.
    """
    try:
        return not 0 <= asleep < int(lease.read_text()) / 2
    except (OSError, ValueError):
        return True


def renew_ssh_host_keys(directory: Path = Path("/etc/ssh")) -> None:
    """Replace the ssh host keys, if there are any: they were made before the machine was saved."""
    keys = list(directory.glob("ssh_host_*_key*"))
    for key in keys:
        key.unlink()
    if keys:
        run(["ssh-keygen", "-A"], seconds=30)
        run(["systemctl", "try-restart", "ssh.service", "sshd.service"], seconds=10)
