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

from latent_libvirt.backoff import Backoff

log = Logger()

_BACKOFF = Backoff(first=1.0, longest=60.0)


@functools.cache
def ensure_running() -> None:
    """Start the event loop unless it runs already. Never call it in two threads at once."""
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run, name="libvirt events", daemon=True).start()


def _run() -> None:
    """Run the loop, and go on after errors: else, nothing would be heard of any host any more."""
    failures, last, forgotten = 0, "", 0.0
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            failures += 1
            pause, now = _BACKOFF.after(failures), time.monotonic()
            if str(error) != last or now > forgotten:
                log.warn("libvirt's event loop: {error}; it goes on", error=str(error))
            last, forgotten = str(error), now + pause + _BACKOFF.longest
            time.sleep(pause)
        else:
            failures = 0
