# SPDX-License-Identifier: GPL-2.0-only
"""The page's plugin of Buildbot's web server: ``c["www"]["plugins"]["latent_libvirt"] = {}``."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from latent_libvirt.jobs.web.early import guard
from latent_libvirt.master.page.board import Board
from latent_libvirt.master.page.resource import PageResource


class PagePlugin:
    """The plugin that Buildbot's web server loads; its attributes are those that Buildbot reads."""

    description = "VMs: the pools of all masters"
    version = importlib.metadata.version("latent-libvirt")
    ui = True
    static_dir = None

    def __init__(self) -> None:
        self.master: Any = None
        self.resource: Any = None

    def setMaster(self, master: Any) -> None:
        """Show the pools that this master hears of.

        Buildbot calls this at each reconfig. The page stays, with all that it counts. Terminals
        stay open for users whom the rules still allow them.
        """
        if master is not self.master:
            self.master = master
            self.resource = PageResource(master, Board(master))
        guard(master.www.site, self.resource.gate)
        self.resource.review()

    def setConfiguration(self, config: Any) -> None:
        """Take the plugin's configuration, which is empty."""
        self.config = config


application = PagePlugin()
