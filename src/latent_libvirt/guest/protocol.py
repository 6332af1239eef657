# SPDX-License-Identifier: GPL-2.0-only
"""The identity that turns a waiting VM into a worker, and the messages of the handshake.

The guest's end of it is ``guest/launcher``, which can import nothing from here: a change on one
side is a change of :data:`PROTOCOL` on both.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import asdict, dataclass, field
from typing import Any

from latent_libvirt.guest.launcher.link.frames import SESSION_DIGITS

PROTOCOL = 1

HELLO = {"type": "hello", "protocol": PROTOCOL}
"""Asks a launcher that may have spoken before anybody listened to say again that it waits."""

SAVE = {"type": "save", "protocol": PROTOCOL}
"""Asks a launcher that waits to leave nothing undone: its VM is about to be saved."""

REHEARSE = {"type": "rehearse", "protocol": PROTOCOL}
"""Asks a launcher that waits to do once what its identity will take: it is quicker after that."""

ENTROPY_BYTES = 64

PASSWORD_PREFIX = "llvp-"  # noqa: S105 - by it, and not by a value, a password is found
"""Beginning of each password, by which an export finds those that are in a memory."""


def new_password() -> str:
    """Return a password for one connection of one worker."""
    return PASSWORD_PREFIX + secrets.token_urlsafe(32)


@dataclass(frozen=True)
class MasterAddress:
    """Address of the master for a guest: a host name or address, and the port for workers.

    :param certificate: that the master has there, in PEM; ``None`` if it speaks no TLS.
    """

    host: str
    port: int
    certificate: str | None = None


@dataclass(frozen=True)
class MasterChannel:
    """Way to the master through a channel of the VM.

    :param factory: of Twisted; makes the master's end of each connection.
    :param session: that both ends of the channel know.
    """

    factory: Any = field(repr=False)
    session: str = field(default_factory=lambda: secrets.token_hex(SESSION_DIGITS // 2))


@dataclass(frozen=True)
class NetworkChannel:
    """What the guest may reach through its master, and another channel of the VM.

    :param policy: what it may reach (``host/proxy/policy.py``).
    :param record: of what it fetches (``host/proxy/record.py``).
    :param session: that both ends of the channel know.
    :param cache: of what was fetched before (``host/proxy/file_cache.py``), if there is one.
    """

    policy: Any = field(repr=False)
    record: Any = field(repr=False)
    session: str = field(default_factory=lambda: secrets.token_hex(SESSION_DIGITS // 2))
    cache: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Identity:
    """Identity for a waiting VM.

    :param name: the worker's name, as Buildbot knows it.
    :param password: lets that worker attach once; never shown by ``repr``.
    :param user: the guest's user that runs the worker.
    :param network: what builds reach; ``None`` if nothing is fetched for them.
    """

    name: str
    password: str = field(repr=False)
    master: MasterAddress | MasterChannel
    user: str
    network: NetworkChannel | None = None

    def message(self, *, now: float) -> dict[str, Any]:
        """Return the handshake's ``identity`` message, with fresh entropy.

        :param now: seconds since the epoch, for the guest's clock.
        """
        return {
            "type": "identity",
            "protocol": PROTOCOL,
            "name": self.name,
            "password": self.password,
            "master": _way(self.master),
            "time": now,
            "hostname": host_name(self.name),
            "entropy": base64.b64encode(secrets.token_bytes(ENTROPY_BYTES)).decode(),
            "user": self.user,
            **({} if self.network is None else {"network": self.network.session}),
        }


def _way(master: MasterAddress | MasterChannel) -> dict[str, Any]:
    if isinstance(master, MasterChannel):
        return {"channel": master.session}
    return {key: value for key, value in asdict(master).items() if value is not None}


def host_name(worker: str) -> str:
    """Return a valid host name (RFC 1123) that resembles the name of *worker*."""
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in worker.lower())
    return letters[:63].strip("-") or "worker"
