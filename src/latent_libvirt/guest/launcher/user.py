# SPDX-License-Identifier: GPL-2.0-only
"""User of the guest that runs the worker."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from .errors import LauncherError


def find_user(name: str) -> pwd.struct_passwd:
    """Return the user *name*.

    :raises LauncherError: there is none, or it has no home directory.
    """
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise LauncherError(f"this image has no user {name}") from None
    if not Path(user.pw_dir).is_dir():
        raise LauncherError(f"user {name} has no home directory {user.pw_dir}")
    return user


def become(user: pwd.struct_passwd) -> None:
    """Give up all privileges that *user* does not have, and what the init system told us."""
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.umask(0o022)
    os.chdir(user.pw_dir)
    os.environ.clear()
    os.environ.update(environment_of(user))


def environment_of(user: pwd.struct_passwd) -> dict[str, str]:
    """Return what builds find in their environment, unless Buildbot says otherwise."""
    return {
        "HOME": user.pw_dir,
        "LANG": "C.UTF-8",
        "LOGNAME": user.pw_name,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SHELL": user.pw_shell or "/bin/sh",
        "USER": user.pw_name,
    }
