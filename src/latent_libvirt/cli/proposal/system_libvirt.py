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


_REFUSALS: Final = ("ermission denied", "authentication", "access denied")


def advice(refusal: HostError, *, instead: str) -> str:
    """Return the advice for a user who did not get qemu:///system: why, what it means, what to do.

    :param refusal: what libvirt said.
    :param instead: the URI that was taken.
    """
    there = next((path for path in SOCKETS if path.exists()), None)
    why = refusal.details or refusal.brief
    user = getpass.getuser()
    if there is None or not any(word in why for word in _REFUSALS):
        return _advice(
            f"{URI} did not answer ({why}),", instead, _start(is_there=there is not None)
        )
    intro = f"{URI} is there, too, and did not let {user} in ({why}),"
    return _advice(intro, instead, _remedy(user, _group_of(there)))


def _advice(intro: str, instead: str, remedy: str) -> str:
    return (
        f"\n{intro}\n"
        f"so {instead} was taken. A master that runs as a service needs {URI}: the VMs of a\n"
        f"session have no networks but 'user', and end with it. {remedy}\n"
    )


def _start(*, is_there: bool) -> str:
    """Return how to get a libvirt of the system that answers."""
    verb = "restart" if is_there else "start"
    return (
        f"To get it, {verb} libvirtd\n(virtqemud, where libvirt is modular), after installing it "
        f"where it is missing:\n"
        f"  sudo apt-get install libvirt-daemon-system qemu-system-x86 qemu-utils\n"
        f"  sudo systemctl {verb} libvirtd\n"
        f"Then run: latent-libvirt init NEW.yaml --uri {URI}"
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
