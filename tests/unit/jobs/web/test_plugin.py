# SPDX-License-Identifier: GPL-2.0-only
"""The job API in Buildbot's web server, on a master that has the plugin and no ``JobApi``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site

from latent_libvirt.jobs.web.plugin import JobsPlugin

_Failure: Any = Failure  # Twisted has no types for them
_Resource: Any = Resource
_Site: Any = Site
_Transport: Any = StringTransport


def test_a_form_is_refused_by_its_head_also_without_a_job_api() -> None:
    root = _Resource()
    app = SimpleNamespace(resource=root)
    www = SimpleNamespace(
        apps=SimpleNamespace(get=lambda _name: app), base_plugin_name="base", site=None
    )
    master: Any = SimpleNamespace(www=www, service_manager=SimpleNamespace(namedServices={}))
    plugin = JobsPlugin()
    plugin.setMaster(master)  # Buildbot has no site yet
    www.site = _Site(root, reactor=Clock())
    plugin.setMaster(master)

    channel, transport = www.site.buildProtocol(None), _Transport()
    channel.makeConnection(transport)
    channel.dataReceived(
        b"POST /jobs HTTP/1.1\r\nHost: h\r\nContent-Length: 4000\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    )
    channel.connectionLost(_Failure(ConnectionDone()))

    assert transport.value().startswith(b"HTTP/1.1 415 ")
