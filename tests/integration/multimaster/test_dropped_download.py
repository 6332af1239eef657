# SPDX-License-Identifier: GPL-2.0-only
"""Clients that drop the download of a log, and those that come after them."""

from __future__ import annotations

import signal
import socket

from installation import Installation

LINES = 100_000
MUCH = f"""[steps.ShellCommand(name="much", command=["seq", "{LINES}"])]"""


def test_downloads_that_are_dropped_hold_up_neither_others_nor_the_end_of_the_master(
    installation: Installation,
) -> None:
    scheduler, first = installation.scheduler(), installation.interface("first", steps=MUCH)
    installation.start(scheduler, first)
    job = scheduler.force()
    assert scheduler.wait_for_result(job) == "SUCCESS"
    ((log,),) = installation.query("SELECT id FROM logs WHERE name = 'stdio'")

    for _ in range(20):
        drop_download(scheduler.web_port, f"/api/v2/logs/{log}/raw")

    assert f"\n{LINES}\nprogram finished" in scheduler.raw(f"logs/{log}/raw")
    scheduler.signal(signal.SIGTERM)
    assert scheduler.wait() == 0


def drop_download(port: int, path: str) -> None:
    """Begin to read what is there, and go away."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(1)
