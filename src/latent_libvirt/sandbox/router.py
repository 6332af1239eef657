# SPDX-License-Identifier: GPL-2.0-only
"""A private message router for several masters: crossbar, in a separate Python environment.

Crossbar pins old versions of what Buildbot wants newer, so it is installed apart: once, on demand,
into a directory that the caller keeps. Which versions is said in ``crossbar-requirements.txt``.
"""

from __future__ import annotations

import json
import secrets
import signal
import socket
from pathlib import Path
from typing import Any, Final, Self

from latent_libvirt.sandbox.confined import Confined
from latent_libvirt.sandbox.environment import bring

REQUIREMENTS: Final = Path(__file__).with_name("crossbar-requirements.txt")
REALM: Final = "buildbot"
ROLE: Final = "master"
USER: Final = "buildbot"
METHOD: Final = "wampcra"
SECRET_VARIABLE: Final = "CI_ROUTER_SECRET"  # noqa: S105 - a name
"""In the environment of crossbar, which only its own user can read."""

MOST_BYTES: Final = 16 * 2**20
"""Of one message: a stranger's grows in memory before its end is there."""


class PrivateRouter:
    """A crossbar that listens on a loopback port, and lets in who has its secret.

    :param directory: receives its configuration and ``router.log``; made if need be, and kept.
    :param environment: where crossbar is installed, or is to be: 380 MB, a minute or two.
    """

    def __init__(self, directory: Path, *, environment: Path) -> None:
        self.directory = directory.absolute()
        self.port = _free_port()
        self.secret = secrets.token_hex(32)
        self._environment = environment.resolve()
        self._server: Confined | None = None

    @property
    def url(self) -> str:
        """What masters connect to."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def pid(self) -> int:
        """The process whose descendants are all of the router's."""
        if self._server is None:
            raise RuntimeError("this router does not run")
        return self._server.pid

    @property
    def log(self) -> Path:
        """The file with its messages."""
        return self.directory / "router.log"

    def start(self) -> None:
        """Start it, and return when it accepts connections; the port stays the same.

        :raises HostError: crossbar could not be installed, or did not come up.
        """
        crossbar = bring(self._environment, REQUIREMENTS, "crossbar")
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "config.json").write_text(json.dumps(configuration(self.port), indent=2))
        self._server = Confined(
            [str(crossbar), "start", "--cbdir", str(self.directory), "--loglevel", "warn"],
            log=self.log,
            environment={
                "HOME": str(self.directory),
                "PYTHONWARNINGS": "ignore",
                SECRET_VARIABLE: self.secret,
            },
        )
        self._server.wait_until(self._accepts)

    def stop(self) -> None:
        """Stop it in the ordinary way."""
        if self._server is not None:
            self._server.stop(signal.SIGTERM)
        self._forget()

    def kill(self) -> None:
        """SIGKILL it and its workers."""
        if self._server is not None:
            self._server.kill()
        self._forget()

    def freeze(self) -> None:
        """Let it do nothing more, while connections to it stay: a machine that hangs."""
        if self._server is not None:
            self._server.signal_all(signal.SIGSTOP)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()  # there is nothing that it could lose

    def _forget(self) -> None:
        self._server = None
        # Crossbar refuses to start where it believes that it runs already.
        (self.directory / "node.pid").unlink(missing_ok=True)

    def _accepts(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


def configuration(port: int) -> dict[str, Any]:
    """Return what crossbar needs to be a router for Buildbot's masters: one realm, one port.

    It finds the masters' secret in its environment. A client without it cannot join.
    """
    everything = {"call": True, "register": True, "publish": True, "subscribe": True}
    permission = {"uri": "", "match": "prefix", "allow": everything}
    role = {"name": ROLE, "permissions": [permission]}
    user = {"secret": f"${{{SECRET_VARIABLE}}}", "role": ROLE}
    websocket = {
        "type": "websocket",
        "auth": {METHOD: {"type": "static", "users": {USER: user}}},
        "options": {
            "enable_webstatus": False,
            "show_server_version": False,
            "max_frame_size": MOST_BYTES,
            "max_message_size": MOST_BYTES,
        },
    }
    endpoint = {"type": "tcp", "port": port, "interface": "127.0.0.1"}
    transport = {
        "type": "web",
        "endpoint": endpoint,
        "paths": {"ws": websocket, "/": {"type": "json", "value": {}}},
    }
    worker = {
        "type": "router",
        "realms": [{"name": REALM, "roles": [role]}],
        "transports": [transport],
    }
    return {"version": 2, "workers": [worker]}


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
