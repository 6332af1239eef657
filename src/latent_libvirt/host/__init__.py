# SPDX-License-Identifier: GPL-2.0-only
"""One host, through libvirt: the only package that speaks libvirt.

``host.py`` is what the pool sees; below it are the connection, storage, domain XML, the guest's
channel and console, and the names that state who owns what. Nothing here knows of Buildbot.
"""

from __future__ import annotations

import libvirt


def _say_nothing(_context: object, _error: object) -> None:
    """Keep libvirt from printing each error to stderr: all of them are raised as exceptions too."""


libvirt.registerErrorHandler(_say_nothing, None)
