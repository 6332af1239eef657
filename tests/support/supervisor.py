# SPDX-License-Identifier: GPL-2.0-only
"""What systemd's ``Restart=always`` is to masters, for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from installation import Master

RESTART_AFTER = 1.0
"""Seconds; as in deploy/multimaster/."""


@contextmanager
def supervised(masters: Sequence[Master]) -> Iterator[None]:
    """Start masters again when they end, for the length of a ``with`` block."""
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(masters, stop))
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _watch(masters: Sequence[Master], stop: threading.Event) -> None:
    while not stop.wait(RESTART_AFTER):
        for master in masters:
            if master.status() is not None:
                master.launch()
