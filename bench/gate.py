# SPDX-License-Identifier: GPL-2.0-only
"""The gate: a job in a VM connects to it, writes a line, and runs until the gate lets it go.

So what is measured is the same for every rival: when a job's first output is there. And a job runs
for exactly as long as somebody looks at its VM. All guests have QEMU's user-mode network, and reach
the gate at the same address.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

HOST = "10.0.2.2"
JOB_TIMEOUT = 900.0
"""Seconds until a job that shows no output fails the run. A busy machine boots slowly."""

_LINE = 30.0
_JOB = "exec 3<>/dev/tcp/{host}/{port} && echo output >&3 && { read -r line <&3 || true; }"


@dataclass(frozen=True)
class Arrival:
    """A job that runs.

    :param at: the monotonic time of its first output.
    :param release: lets it end.
    """

    at: float
    release: Callable[[], object]


class Gate:
    """The jobs that have begun, in the order of their first output."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._arrivals: queue.Queue[Arrival | Exception] = queue.Queue()

    def job(self) -> str:
        """Return the job: a script for bash."""
        port = str(self._listening.getsockname()[1])
        return _JOB.replace("{host}", HOST).replace("{port}", port)

    def announce(self, release: Callable[[], object]) -> None:
        """Count a job as begun, now."""
        self._arrivals.put(Arrival(time.monotonic(), release))

    def fail(self, error: Exception) -> None:
        """Let the one who waits for a job know that it will not begin."""
        self._arrivals.put(error)

    def arrival(self, timeout: float = JOB_TIMEOUT) -> Arrival:
        """Return the next job that has begun.

        :raises TimeoutError: there was none in *timeout* seconds.
        """
        try:
            arrival = self._arrivals.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no job showed any output within {timeout:g} s") from None
        if isinstance(arrival, Exception):
            raise arrival
        return arrival

    def clear(self) -> None:
        """Forget the jobs that have begun and that nobody has waited for, and let them end."""
        with suppress(queue.Empty):
            while True:
                arrival = self._arrivals.get_nowait()
                if isinstance(arrival, Arrival):
                    arrival.release()

    def serve(self) -> None:
        """Accept jobs until the listener is closed."""
        while True:
            try:
                connection = self._listening.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._greet, args=(connection,), daemon=True).start()

    def _greet(self, connection: socket.socket) -> None:
        connection.settimeout(_LINE)
        try:
            said = connection.recv(64)
        except OSError:
            said = b""
        if said:
            self.announce(connection.close)
        else:
            connection.close()


@contextmanager
def opened() -> Iterator[Gate]:
    """Give a gate for the length of a ``with`` block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        gate = Gate(listening)
        server = threading.Thread(target=gate.serve, daemon=True)
        server.start()
        try:
            yield gate
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            server.join()
