# SPDX-License-Identifier: GPL-2.0-only
"""A process with many simulated guests: each speaks the handshake, then is a worker.

``python -m latent_libvirt.stress.simulation.guests SOCKET DIRECTORY`` listens on a Unix socket.
Each connection to it is a VM, from its power-on to its end. The process ends with its standard
input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet import stdio
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineOnlyReceiver

from latent_libvirt.guest.protocol import PROTOCOL
from latent_libvirt.stress.simulation import commands
from latent_libvirt.stress.simulation.files import allow_many_files
from latent_libvirt.stress.simulation.times import StartTimes
from latent_libvirt.stress.simulation.worker import SimulatedWorker

reactor: Any = _reactor


class Guest(LineOnlyReceiver):
    """One simulated guest.

    :param directory: where workers have their files.
    """

    delimiter = b"\n"
    MAX_LENGTH = 65536

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._times: StartTimes | None = None
        self._waits = False
        self._worker: SimulatedWorker | None = None
        self._calls: list[Any] = []

    def lineReceived(self, line: bytes) -> None:
        """Do what the hypervisor or the pool says."""
        message = json.loads(line)
        match message["type"]:
            case "power-on":
                self._times = StartTimes(**message["times"])
                self._later(self._times.boot, self._wait)
            case "identity":
                assert self._times is not None
                self._later(self._times.assign, self._begin, message, self._times.attach)
            case "hello" if self._waits:
                self._wait()

    def connectionLost(self, _reason: object = None) -> None:
        """End with the VM: like a plug that is pulled, the worker says nothing more."""
        for call in self._calls:
            if call.active():
                call.cancel()
        if self._worker is not None:
            self._worker.kill()

    def _later(self, seconds: float, function: Any, *args: Any) -> None:
        self._calls.append(reactor.callLater(seconds, function, *args))

    def _wait(self) -> None:
        self._waits = True
        self._say("waiting")

    def _say(self, type_: str) -> None:
        self.sendLine(json.dumps({"type": type_, "protocol": PROTOCOL}).encode())

    def _begin(self, identity: dict[str, Any], attach: float) -> None:
        self._say("starting")
        self._worker = SimulatedWorker(identity, self._directory)
        self._later(attach, self._worker.start)


class Guests(Factory):
    """All guests of this process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def buildProtocol(self, _address: IAddress | None) -> Guest:
        """Return the guest of a VM that was switched on."""
        return Guest(self._directory)


class _UntilInputEnds(Protocol):
    """Ends the process when the one that started it is gone."""

    def connectionLost(self, _reason: object = None) -> None:
        if reactor.running:
            reactor.stop()


def main(path: str, directory: str) -> None:
    """Have guests until standard input ends."""
    allow_many_files()
    commands.install()
    reactor.listenUNIX(path, Guests(Path(directory)), mode=0o600, backlog=1024)
    stdio.StandardIO(_UntilInputEnds())
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
