# SPDX-License-Identifier: GPL-2.0-only
"""The user of a guest that runs the worker."""

from __future__ import annotations

import pytest

from latent_libvirt.guest.launcher.errors import LauncherError
from latent_libvirt.guest.launcher.user import environment_of, find_user


def test_a_user_that_is_not_there_is_named() -> None:
    with pytest.raises(LauncherError, match="no user nobody-here"):
        find_user("nobody-here")


def test_builds_see_an_environment_of_the_user_alone() -> None:
    root = find_user("root")

    environment = environment_of(root)

    assert environment["HOME"] == root.pw_dir
    assert set(environment) == {"HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER"}
