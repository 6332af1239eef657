# SPDX-License-Identifier: GPL-2.0-only
"""Which endpoints guests can connect to, and what is said of the others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from latent_libvirt.endpoints import refuse_unusable
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.worker import LibvirtLatentWorker


@pytest.mark.parametrize(
    "port", [9989, "9989", "tcp:9989", "tcp:9989:interface=127.0.0.1", "tcp6:9989:interface=\\:\\:"]
)
def test_tcp_is_good(port: str | int) -> None:
    refuse_unusable(port)


@pytest.mark.parametrize(
    ("port", "reason"),
    [
        ("ssl:9989:privateKey=key.pem", "no TLS"),
        ("tls:tcp\\:9989", "no TLS"),
        ("unix:/run/workers", "no file system"),
        ("systemd:domain=INET:index=0", "a TCP port"),
        ("onion:9989", "a TCP port"),
    ],
)
def test_what_guests_cannot_use_is_refused_with_the_reason(port: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        refuse_unusable(port)


def test_a_worker_says_so_before_it_asks_for_a_vm() -> None:
    worker = LibvirtLatentWorker("debian-12-1", label="debian-12")
    worker.registration = SimpleNamespace(pbReg=SimpleNamespace(portstr="ssl:9989"))

    with pytest.raises(ConfigurationError, match=r"cannot connect to an endpoint 'ssl:\.\.\.'"):
        worker._port()
