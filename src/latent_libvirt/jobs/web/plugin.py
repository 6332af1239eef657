# SPDX-License-Identifier: GPL-2.0-only
"""The job API in Buildbot's own web server: ``c["www"]["plugins"]["jobs"] = {}``.

It is at ``/jobs``, and at ``/plugins/jobs`` as other plugins are. People get the page "Jobs" in
Buildbot's UI.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

from twisted.web.util import Redirect

from latent_libvirt.jobs.service import manager_of
from latent_libvirt.jobs.web.early import Gate, guard
from latent_libvirt.jobs.web.resource import JobsResource
from latent_libvirt.upstream.ui.files import static_files

if TYPE_CHECKING:
    from latent_libvirt.jobs.manager import JobManager


class JobsPlugin:
    """The plugin that Buildbot's web server loads.

    The attributes are those of Buildbot's ``www.plugin.Application``.
    """

    description = "jobs: one POST, one UUID, one URL"
    version = importlib.metadata.version("latent-libvirt")
    ui = True
    static_dir = None

    def __init__(self) -> None:
        self.master: Any = None
        self.resource = JobsResource(self._manager, files=static_files("latent_libvirt.jobs.web"))

    def setMaster(self, master: Any) -> None:
        """Serve the jobs of this master; also at its root, where Buildbot has nothing itself."""
        self.master = master
        www = master.www
        root = www.apps.get(www.base_plugin_name).resource
        root.putChild(b"jobs", self.resource)
        # Browsers ask for it where they show JSON, and log that it is missing.
        root.putChild(b"favicon.ico", Redirect(b"icon.png"))
        guard(www.site, Gate(self._manager, is_alone=False))  # also without a JobApi

    def _manager(self) -> JobManager | None:
        return manager_of(self.master)

    def setConfiguration(self, config: Any) -> None:
        """Take the plugin's configuration, which is empty: ``JobApi`` has it."""
        self.config = config


application = JobsPlugin()
