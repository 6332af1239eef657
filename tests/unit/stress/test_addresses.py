# SPDX-License-Identifier: GPL-2.0-only
"""Addresses of targets: a load goes to loopback, and to what the profile lists."""

from __future__ import annotations

import http.server
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.stress.target.addresses import ForeignAddressError, check, handlers

SOON = 0.02
"""Seconds in which a server notices that it is to end."""


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8010/", "http://[::1]:8010/", "http://127.1.2.3/", "http://localhost/"],
)
def test_loopback_may_have_a_load(url: str) -> None:
    check(url, ())


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/", "https://[2001:db8::1]/", "http://10.0.0.1/", "http://0.0.0.0/"]
)
def test_another_address_has_to_be_listed(url: str) -> None:
    with pytest.raises(ConfigurationError, match="neither loopback nor listed"):
        check(url, ("192.0.2.2",))


def test_an_address_that_is_listed_may_have_a_load() -> None:
    check("https://[2001:DB8:0::1]:8010/", ("192.0.2.2", "2001:db8::1"))


def test_a_name_without_an_address_is_reported() -> None:
    with pytest.raises(ConfigurationError, match="has no address"):
        check("http://nowhere.invalid/", ())


@pytest.fixture
def asked() -> Iterator[tuple[int, list[str]]]:
    """Give the port of a web server on loopback, and the paths that were asked for."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[SOON], daemon=True).start()
        yield server.server_port, paths
        server.shutdown()


def test_a_connection_to_an_allowed_address_is_made(asked: tuple[int, list[str]]) -> None:
    port, paths = asked

    urllib.request.build_opener(*handlers(())).open(f"http://localhost:{port}/here").close()

    assert paths == ["/here"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nothing_is_sent_to_an_address_that_a_name_has_only_now(
    asked: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    port, paths = asked
    # No address but loopback is there to connect to, so it is the name's new one that is refused.
    monkeypatch.setattr("latent_libvirt.stress.target.addresses.is_allowed", lambda *_: False)
    opener = urllib.request.build_opener(*handlers(()))
    expected = ForeignAddressError if scheme == "http" else OSError  # its TLS comes to nothing

    with pytest.raises(expected):
        opener.open(f"{scheme}://localhost:{port}/", timeout=60)

    assert paths == []


def test_what_a_host_was_checked_to_have_is_returned() -> None:
    assert check("http://127.0.0.1:1/", ()) == ("127.0.0.1",)
    assert set(check("http://localhost/", ())) <= {"127.0.0.1", "::1"}
