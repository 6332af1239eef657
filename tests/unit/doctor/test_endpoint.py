# SPDX-License-Identifier: GPL-2.0-only
"""The port for workers as a ``master.cfg`` has it: what is told of it without a master."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from latent_libvirt.config.listener import Listener
from latent_libvirt.doctor.endpoint import check
from latent_libvirt.doctor.finding import Status
from latent_libvirt.doctor.taken_port import taken
from latent_libvirt.errors import ConfigurationError

TLS = "ssl:9989:privateKey=key.pem:certKey=cert.pem"


def listener(endpoint: str) -> Listener:
    return Listener("master.cfg", 3, endpoint)


@pytest.fixture
def pems(tmp_path: Path) -> Path:
    """Give a directory with a key and its certificate."""
    write(tmp_path, trustme.CA().issue_cert("anything.example.org"))
    return tmp_path


def write(directory: Path, leaf: trustme.LeafCert) -> None:
    leaf.private_key_pem.write_to_path(directory / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(directory / "cert.pem")


@pytest.mark.parametrize(("endpoint", "said"), [("tcp:9989", "without TLS"), (TLS, "by TLS")])
def test_a_good_port_is_fine(pems: Path, endpoint: str, said: str) -> None:
    (found,) = check(listener(endpoint), pems)

    assert found.status is Status.FINE
    assert said in found.brief


@pytest.mark.parametrize("endpoint", ["unix:workers", "tls:9989", TLS])
def test_any_port_is_fine_if_no_guest_connects_to_it(tmp_path: Path, endpoint: str) -> None:
    (found,) = check(listener(endpoint), tmp_path, by_tcp=False)

    assert found.status is Status.FINE
    assert "all workers use channels" in found.brief


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("cert.pem", None, "cert.pem of the port for workers is of no use"),
        ("key.pem", None, "key.pem cannot be read"),
        ("key.pem", b"no key", "holds no key"),
        (
            "cert.pem",
            b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
            "is broken",
        ),
        ("key.pem", trustme.CA().issue_cert("x").private_key_pem.bytes(), "is not that of"),
    ],
)
def test_what_would_keep_the_master_from_listening_is_told(
    pems: Path, file: str, content: bytes | None, said: str
) -> None:
    (pems / file).unlink()
    if content is not None:
        (pems / file).write_bytes(content)

    with pytest.raises(ConfigurationError, match=said):
        check(listener(TLS), pems)


def test_a_port_that_guests_cannot_use_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot connect to an endpoint 'unix:"):
        check(listener("unix:/run/workers"), tmp_path)


def test_a_certificate_that_has_expired_is_told(tmp_path: Path) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    write(tmp_path, trustme.CA().issue_cert("x", not_after=past))

    _, found = check(listener(TLS), tmp_path)

    assert found.status is Status.WARNING
    assert "has expired" in found.brief


def test_a_port_that_another_program_has_is_told_with_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for endpoint in (f"tcp:{port}", f"tcp:{port}:interface=127.0.0.1"):
            (found,) = taken(listener(endpoint))
            assert found.status is Status.WARNING
            name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
            assert f"the program {name} listens at port {port} already" in found.brief
            assert "ss -ltnp" in str(found.resolution)
    assert taken(listener(f"tcp:{port}")) == []


def test_an_endpoint_without_a_port_is_not_tried() -> None:
    assert taken(listener("tcp:0")) == taken(listener("unix:socket")) == []
