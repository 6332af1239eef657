# SPDX-License-Identifier: GPL-2.0-only
"""Who watches the host from outside, and counts VMs, whatever the masters believe."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Final, Self

import libvirt

from latent_libvirt.host.domains import slot_domains

INTERVAL: Final = 0.1  # seconds between two looks


class Witness:
    """Counts the VMs of a host, over and over, for a ``with`` block.

    :param uri: of the host.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = 0
        """VMs at any one moment."""
        self.most_of_master: Counter[str] = Counter()
        """The same, for each master, by the name of its directory."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        connection = libvirt.open(self._uri)
        try:
            while not self._stop.wait(INTERVAL):
                self._look(connection)
        finally:
            connection.close()

    def _look(self, connection: libvirt.virConnect) -> None:
        seen = slot_domains.slot_domains(connection)
        self.most = max(self.most, len(seen))
        masters = Counter(Path(vm.record.master).name for vm in seen if vm.record is not None)
        for master, number in masters.items():
            self.most_of_master[master] = max(self.most_of_master[master], number)
