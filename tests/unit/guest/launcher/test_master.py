# SPDX-License-Identifier: GPL-2.0-only
"""The master as a guest finds it."""

from __future__ import annotations

import socket
import threading

import pytest

from latent_libvirt.guest.launcher.errors import LauncherError
from latent_libvirt.guest.launcher.master import wait_for_master


def test_a_master_that_listens_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        wait_for_master(*server.getsockname())


def test_a_master_that_comes_late_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

    def listen() -> None:
        with socket.create_server(address) as late:
            late.accept()[0].close()

    master = threading.Timer(0.2, listen)
    master.start()
    wait_for_master(*address)
    master.join()


def test_a_master_that_does_not_listen_is_named_with_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, number = server.getsockname()

    with pytest.raises(LauncherError, match=f"{host} port {number}: .*refused"):
        wait_for_master(host, number, deadline=0.0)
