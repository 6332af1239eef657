# SPDX-License-Identifier: GPL-2.0-only
"""A launcher and a master whose port speaks TLS: whom it believes, and its tunnel."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import trustme

from latent_libvirt.guest.launcher.certificate import fingerprint
from latent_libvirt.guest.launcher.errors import LauncherError
from latent_libvirt.guest.launcher.master import wait_for_master
from latent_libvirt.guest.launcher.tunnel import begin_tunnel

ECHO = b"the worker's words" * 10_000


class Server:
    """Answers each connection with what it says, by TLS if it has a certificate."""

    def __init__(self, certificate: trustme.LeafCert | None) -> None:
        self._context = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(self._context)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(plain,), daemon=True).start()

    def _answer(self, plain: socket.socket) -> None:
        try:
            with plain:
                if self._context is None:
                    plain.sendall(b"I speak no TLS at all\n")
                    return
                with self._context.wrap_socket(plain, server_side=True) as secure:
                    while data := secure.recv(65536):
                        secure.sendall(data)
        except OSError:
            return

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Close what a test opens."""
    with ExitStack() as opened:
        yield opened


def leaf(name: str = "another-name.example.org") -> trustme.LeafCert:
    return trustme.CA().issue_cert(name)


def der(certificate: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())


def serving(stack: ExitStack, certificate: trustme.LeafCert | None) -> int:
    server = Server(certificate)
    stack.callback(server.close)
    return server.port


def test_the_master_is_known_by_its_certificate_whatever_its_name(stack: ExitStack) -> None:
    certificate = leaf()
    wait_for_master("127.0.0.1", serving(stack, certificate), der(certificate))


def test_another_certificate_is_told_at_once_with_both_fingerprints(stack: ExitStack) -> None:
    port = serving(stack, leaf())
    wanted = der(leaf())

    with pytest.raises(LauncherError, match="has another certificate") as told:
        wait_for_master("127.0.0.1", port, wanted)

    assert fingerprint(wanted) in str(told.value)
    assert str(port) in str(told.value)


def test_a_port_that_speaks_no_tls_is_told_at_once(stack: ExitStack) -> None:
    with pytest.raises(LauncherError, match="does not speak TLS as the master does"):
        wait_for_master("127.0.0.1", serving(stack, None), der(leaf()))


def tunnel(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, port: int, known: bytes) -> int:
    """Begin a tunnel in a process that ends with the test; return its port."""
    fork, children = os.fork, list[int]()

    def remembered() -> int:
        pid = fork()
        children.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", remembered)
    near = begin_tunnel("127.0.0.1", port, known)
    monkeypatch.undo()

    def end() -> None:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)

    stack.callback(end)
    return near


def test_the_tunnel_carries_what_both_sides_say(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = leaf()
    near = tunnel(stack, monkeypatch, serving(stack, certificate), der(certificate))

    with socket.create_connection(("127.0.0.1", near), timeout=60) as client:
        threading.Thread(target=client.sendall, args=(ECHO,)).start()
        heard = b""
        while len(heard) < len(ECHO):
            heard += client.recv(65536)

    assert heard == ECHO


def test_the_tunnel_leads_nowhere_else(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    near = tunnel(stack, monkeypatch, serving(stack, leaf()), der(leaf()))

    with socket.create_connection(("127.0.0.1", near), timeout=60) as client:
        client.sendall(b"the password")
        assert client.recv(100) == b""
