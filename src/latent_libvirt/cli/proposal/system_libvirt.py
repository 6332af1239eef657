# SPDX-License-Identifier: GPL-2.0-only
"""The machine's own libvirt, qemu:///system, for a user who may not use it: what is missing."""

from __future__ import annotations

import getpass
import grp
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from latent_libvirt.errors import HostError

URI: Final = "qemu:///system"

SOCKETS: Final = (Path("/run/libvirt/libvirt-sock"), Path("/run/libvirt/virtqemud-sock"))
"""Where libvirtd and its successor listen (libvirt, "Daemons")."""

GROUP: Final = "libvirt"
"""Whose members Debian and Fedora let in, by the socket's mode or by polkit."""


def advice(refusal: HostError, *, instead: str) -> str:
    """Return the advice for a user whom qemu:///system refuses; nothing if it is not there.

    :param refusal: what libvirt said.
    :param instead: the URI that was taken.
    """
    there = next((path for path in SOCKETS if path.exists()), None)
    if there is None:
        return ""
    user, group = getpass.getuser(), _group_of(there)
    return (
        f"\n{URI} is there, too, and did not let {user} in ({refusal.details or refusal.brief}),\n"
        f"so {instead} was taken. A master that runs as a service needs {URI}: the VMs of a\n"
        f"session have no networks but 'user', and end with it. {_remedy(user, group)}\n"
    )


def _remedy(user: str, group: str) -> str:
    again = f"then run: latent-libvirt init NEW.yaml --uri {URI}"
    if user in _members(group):
        return f"{user} is in group {group}, but not\nyet in this login. Log in again; {again}"
    join = f"sudo usermod --append --groups {shlex.quote(group)} {shlex.quote(user)}"
    return f"To be let in:\n  {join}\nLog in again; {again}"


def _group_of(path: Path) -> str:
    """Return the group that may write to the socket, or the one that polkit knows."""
    status = path.stat()
    if not status.st_mode & 0o020 or status.st_gid == 0:
        return GROUP
    try:
        return grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        return GROUP


def _members(group: str) -> list[str]:
    """Return who is in *group*, unless this login already is: then it is not what is missing."""
    try:
        found = grp.getgrnam(group)
    except KeyError:
        return []
    return [] if found.gr_gid in os.getgroups() else found.gr_mem
