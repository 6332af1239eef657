# SPDX-License-Identifier: GPL-2.0-only
"""Master of the worker, as the guest reaches it: a connection before the worker makes its own."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Final

from .certificate import see_that_it_is, tls
from .errors import LauncherError
from .waiting import POLL_INTERVAL

MASTER_DEADLINE: Final = 30.0
"""Seconds until the master must have accepted a connection."""
CONNECT_TIMEOUT: Final = 5.0


def wait_for_master(
    host: str, port: int, certificate: bytes | None = None, deadline: float = MASTER_DEADLINE
) -> None:
    """Return once the master accepts connections.

    :param certificate: the master's, if its port speaks TLS.

    :raises LauncherError: it does not until the deadline; says what the last attempt ended with.
    """
    end = time.monotonic() + deadline
    while True:
        try:
            return connect(host, port, certificate)
        except OSError as error:  # noqa: PERF203
            if time.monotonic() > end:
                where = f"the master at {host} port {port}"
                raise LauncherError(f"cannot connect to {where}: {error}") from None
            time.sleep(POLL_INTERVAL)


def connect(host: str, port: int, certificate: bytes | None = None) -> None:
    """Connect to the master, and close the connection.

    :raises OSError: why it is not possible.
    :raises LauncherError: what answers is not the master that has this certificate.
    """
    with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT) as plain:
        if certificate is None:
            return
        where = f"what answers at {host} port {port}"
        try:
            with tls().wrap_socket(plain, server_hostname=host) as secure:
                see_that_it_is(secure.getpeercert(binary_form=True), certificate, where)
        except ssl.SSLError as error:
            reason = error.reason or error
            raise LauncherError(
                f"{where} does not speak TLS as the master does: {reason}"
            ) from None
