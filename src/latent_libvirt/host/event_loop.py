# SPDX-License-Identifier: GPL-2.0-only
"""libvirt's own event loop, in one daemon thread of the process.

Lifecycle events, keepalive and streams need a running event loop that is registered before the first
connection is opened (libvirt: ``virEventRegisterDefaultImpl``). It runs apart from Twisted's reactor
so that neither can hold up the other; callbacks hand over with ``reactor.callFromThread``. Nothing
here knows of connections or domains.
"""

from __future__ import annotations

import threading

import libvirt

_start_lock = threading.Lock()
_thread: threading.Thread | None = None


def ensure_running() -> None:
    """Start the event loop unless it runs already; safe to call from any thread, any number of times."""
    global _thread
    with _start_lock:
        if _thread is None:
            libvirt.virEventRegisterDefaultImpl()
            libvirt.registerErrorHandler(_say_nothing, None)
            _thread = threading.Thread(target=_run, name="libvirt events", daemon=True)
            _thread.start()


def _run() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _say_nothing(_context: object, _error: object) -> None:
    """Keep libvirt from printing each error to stderr: all of them are raised as exceptions too."""
