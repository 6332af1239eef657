# SPDX-License-Identifier: GPL-2.0-only
"""What is found where, once the package is installed."""

from __future__ import annotations

import re
from importlib import metadata
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

from buildbot.interfaces import IWorker
from buildbot.plugins import util, worker
from packaging.specifiers import SpecifierSet
from zope.interface.verify import verifyClass

from latent_libvirt import Pool

ROOT = Path(__file__).parents[2]


def test_buildbot_finds_the_worker_and_the_pool_as_plugins() -> None:
    assert verifyClass(IWorker, worker.LibvirtLatentWorker)
    assert util.LibvirtPool is Pool


def test_the_command_line_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="latent-libvirt")
    assert callable(command.load())


def test_it_says_that_it_is_typed() -> None:
    assert files("latent_libvirt").joinpath("py.typed").is_file()


def test_all_that_is_pinned_runs_on_debians_own_python() -> None:
    """Debian 12 has Python 3.11.2, which some releases for 3.11 refuse."""
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pins
    wanted = {name: str(metadata.metadata(name).json.get("requires_python", "")) for name in pins}
    refused = {
        name: versions
        for name, versions in wanted.items()
        if "3.11.2" not in SpecifierSet(versions)
    }
    assert refused == {}
