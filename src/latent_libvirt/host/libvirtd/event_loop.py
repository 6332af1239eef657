# SPDX-License-Identifier: GPL-2.0-only
"""libvirt's own event loop, in one daemon thread of the process.

Lifecycle events, keepalive and streams need a running event loop that is registered before the
first connection is opened (libvirt: ``virEventRegisterDefaultImpl``). It runs apart from Twisted's
reactor so that neither can hold up the other; callbacks use ``reactor.callFromThread``.
Nothing here knows of connections or domains.
"""

from __future__ import annotations

import functools
import threading
import time

import libvirt
from twisted.logger import Logger

log = Logger()

AGAIN_AFTER = 1.0
"""Seconds until the loop goes on after an error."""


@functools.cache
def ensure_running() -> None:
    """Start the event loop unless it runs already. Never call it in two threads at once."""
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run, name="libvirt events", daemon=True).start()


def _run() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            # Without it, no host's events and consoles would be heard any more.
            log.warn("libvirt's event loop: {error}; it goes on", error=str(error))
            time.sleep(AGAIN_AFTER)
