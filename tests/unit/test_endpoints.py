# SPDX-License-Identifier: GPL-2.0-only
"""Which endpoints guests can connect to, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from latent_libvirt.endpoints import certificate_of, read_certificate, refuse_unusable
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.master.workers.needs import need_port


@pytest.mark.parametrize(
    "port", [9989, "9989", "tcp:9989", "tcp:9989:interface=127.0.0.1", "tcp6:9989:interface=\\:\\:"]
)
def test_tcp_is_good(port: str | int) -> None:
    refuse_unusable(port)


@pytest.mark.parametrize(
    ("port", "reason"),
    [
        ("tls:tcp\\:9989", "with TLS is written like ssl:9989:privateKey="),
        ("unix:/run/workers", "no file system"),
        ("systemd:domain=INET:index=0", "a TCP port"),
        ("onion:9989", "a TCP port"),
    ],
)
def test_what_guests_cannot_use_is_refused_with_the_reason(port: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        refuse_unusable(port)


@pytest.fixture
def pems(tmp_path: Path) -> Path:
    """Give a directory with a key, its certificate, and a file that holds both."""
    leaf = trustme.CA().issue_cert("ci.example.org")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    return tmp_path


@pytest.mark.parametrize(
    "port",
    [
        "ssl:9989:privateKey=key.pem:certKey=cert.pem",
        "ssl:9989:key.pem:cert.pem:interface=127.0.0.1",
        "ssl:port=9989:privateKey=server.pem",
        "ssl:9989",
    ],
)
def test_guests_get_the_certificate_of_a_port_and_never_its_key(pems: Path, port: str) -> None:
    refuse_unusable(port)
    found = read_certificate(port, pems)

    assert found == (pems / "cert.pem").read_text()
    assert "PRIVATE" not in found


@pytest.mark.parametrize("name", ["nowhere.pem", "key.pem", "."])
def test_a_certificate_that_cannot_be_read_is_named(pems: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="the certificate") as refused:
        read_certificate(f"ssl:9989:privateKey=key.pem:certKey={name}", pems)

    assert str(pems / name) in str(refused.value)


def test_what_listens_is_remembered_when_the_file_is_changed(pems: Path) -> None:
    port = f"ssl:9989:privateKey={pems}/key.pem:certKey={pems}/cert.pem"
    first = certificate_of(port)
    trustme.CA().issue_cert("other").cert_chain_pems[0].write_to_path(pems / "cert.pem")

    assert certificate_of(port) == first
    assert certificate_of("tcp:9989") is None


def test_a_worker_says_so_before_it_asks_for_a_vm() -> None:
    manager = SimpleNamespace(dispatchers={"tls:9989": SimpleNamespace(serverFactory=None)})
    registration = SimpleNamespace(pbReg=SimpleNamespace(portstr="tls:9989", manager=manager))

    with pytest.raises(ConfigurationError, match=r"cannot connect to an endpoint 'tls:\.\.\.'"):
        need_port(registration).address()
