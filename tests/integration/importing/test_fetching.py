# SPDX-License-Identifier: GPL-2.0-only
"""The way out of an isolated sandbox: only by the proxy, and only to what is allowed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from latent_libvirt.config.destinations import DestinationConfig
from latent_libvirt.errors import GuestError
from latent_libvirt.images.progress import Reporter
from latent_libvirt.importing.fetching import WayOut
from latent_libvirt.sandbox import PrivateLibvirtd
from latent_libvirt.sandbox.supervisor import FORWARDED_PORT

FILE = b"0123456789" * 1_000_000
"""More than any buffer on the way has room for."""

CLIENT = f"""
import hashlib, json, sys, urllib.error, urllib.request
proxy = urllib.request.ProxyHandler({{"http": "http://127.0.0.1:{FORWARDED_PORT}"}})
opener = urllib.request.build_opener(proxy)
found = []
for url in sys.argv[1:]:
    try:
        found.append(hashlib.sha256(opener.open(url, timeout=60).read()).hexdigest())
    except urllib.error.HTTPError as error:
        found.append(error.code)
print(json.dumps(found))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """Give the port of a server that has a file."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www/make.deb").write_bytes(FILE)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_port
        running.shutdown()


def fetch(sandbox: PrivateLibvirtd, *urls: str) -> list[Any]:
    """Fetch what a guest of the sandbox would."""
    inside = ["nsenter", "--preserve-credentials", "--user", "--net", f"--target={sandbox.pid}"]
    command = [*inside, sys.executable, "-I", "-S", "-c", CLIENT, *urls]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    found: list[Any] = json.loads(done.stdout)
    return found


@pytest_twisted.ensureDeferred
async def test_a_guest_fetches_what_is_allowed_and_nothing_else(
    tmp_path: Path, cache: Path, server: int
) -> None:
    allowed = f"http://localhost:{server}/make.deb"
    refused = f"http://localhost:{server + 1}/make.deb"
    way_out = WayOut([DestinationConfig(name="localhost", port=server)], Reporter())
    sandbox = PrivateLibvirtd(
        tmp_path / "libvirtd", capability_cache=cache / "libvirt", isolated=True
    )
    with sandbox:
        sandbox.forward()
        async with way_out.opened(sandbox.way_out, reactor):
            found = await deferToThread(fetch, sandbox, allowed, refused)
        assert not sandbox.way_out.exists()

    digest = hashlib.sha256(FILE).hexdigest()
    assert found == [digest, 403]
    assert way_out.fetched() == {f"fetched {allowed}": f"sha256:{digest}"}
    error = way_out.explained(GuestError("apt-get install ended with status 100"))
    assert f"--allow localhost:{server + 1}" in str(error.resolution)
