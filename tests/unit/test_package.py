# SPDX-License-Identifier: GPL-2.0-only
"""What is found where, once the package is installed."""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.resources import files

from buildbot.interfaces import IWorker
from buildbot.plugins import util, worker
from zope.interface.verify import verifyClass

from latent_libvirt import Pool


def test_buildbot_finds_the_worker_and_the_pool_as_plugins() -> None:
    assert verifyClass(IWorker, worker.LibvirtLatentWorker)
    assert util.LibvirtPool is Pool


def test_the_command_line_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="latent-libvirt")
    assert callable(command.load())


def test_it_says_that_it_is_typed() -> None:
    assert files("latent_libvirt").joinpath("py.typed").is_file()
