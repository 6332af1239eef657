# SPDX-License-Identifier: GPL-2.0-only
"""Identity of the VM: what comes through the channel is checked here, and nowhere else.

Everything that the launcher does to the machine follows from it.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .errors import LauncherError

if TYPE_CHECKING:
    from .messages import Message

_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_HOST_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_HOST_LABEL}(\.{_HOST_LABEL})*")
_SESSION: Final = re.compile("[0-9a-f]{16}")
_OLDEST_TIME: Final = 1_500_000_000.0
_NEWEST_TIME: Final = 10_000_000_000.0
_MAX_TEXT: Final = 256
_MIN_ENTROPY: Final = 32
_MAX_ENTROPY: Final = 1024


@dataclass(frozen=True)
class Identity:
    """Who this VM is to be.

    :param time: seconds since the epoch.
    :param entropy: bytes that nobody else knows, for the kernel's random pool.
    :param user: the user of this guest that runs the worker.
    :param certificate: the master's, in DER; ``None`` if its port is plain TCP.
    :param channel: the session of the worker's channel; ``None`` if the worker connects by TCP.
        Then the master's host and port lead nowhere.
    :param network: the session of the channel to the forward proxy; ``None`` if there is none.
    :param saved: when this VM got ready to be saved, by its own clock; ``None`` if it never did.
    """

    name: str
    password: str = field(repr=False)
    master_host: str
    master_port: int
    time: float
    hostname: str
    entropy: bytes = field(repr=False)
    user: str
    certificate: bytes | None = None
    channel: str | None = None
    network: str | None = None
    saved: float | None = None


def parse_identity(message: Message) -> Identity:
    """Return the identity in an ``identity`` message.

    :raises LauncherError: any part of it is missing or not what it must be.
    """
    master = _expect(message, "master", dict)
    return Identity(
        name=_text(message, "name"),
        password=_text(message, "password"),
        **_way_to_master(master),
        time=_time(message, "time"),
        hostname=_matching(message, "hostname", _HOST_NAME),
        entropy=_entropy(message, "entropy"),
        user=_matching(message, "user", _USER),
        network=_matching(message, "network", _SESSION) if "network" in message else None,
    )


def _way_to_master(master: Message) -> dict[str, Any]:
    if "channel" in master:
        session = _matching(master, "channel", _SESSION)
        return {"channel": session, "master_host": "127.0.0.1", "master_port": 0}
    return {
        "master_host": _address(master, "host"),
        "master_port": _port(master, "port"),
        "certificate": _certificate(master, "certificate"),
    }


def _expect(message: Message, key: str, *types_: type) -> Any:
    value = message.get(key)
    if type(value) not in types_:
        raise LauncherError(f"identity: {key} is missing or of the wrong type")
    return value


def _invalid(key: str) -> LauncherError:
    # The value is not repeated: the mistake may be that it holds the password.
    return LauncherError(f"identity: {key} is not valid")


def _text(message: Message, key: str) -> str:
    value = _expect(message, key, str)
    if not 0 < len(value) <= _MAX_TEXT or not value.isprintable():
        raise _invalid(key)
    return str(value)


def _matching(message: Message, key: str, pattern: re.Pattern[str]) -> str:
    value = _expect(message, key, str)
    if not pattern.fullmatch(value):
        raise _invalid(key)
    return str(value)


def _address(message: Message, key: str) -> str:
    value = _expect(message, key, str)
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return _matching(message, key, _HOST_NAME)


def _port(message: Message, key: str) -> int:
    value = _expect(message, key, int)
    if not 0 < value < 65536:  # noqa: PLR2004
        raise _invalid(key)
    return int(value)


def _time(message: Message, key: str) -> float:
    value = _expect(message, key, int, float)
    if not math.isfinite(value) or not _OLDEST_TIME < value < _NEWEST_TIME:
        raise _invalid(key)
    return float(value)


def _certificate(message: Message, key: str) -> bytes | None:
    if message.get(key) is None:
        return None
    value = _expect(message, key, str)
    try:
        return ssl.PEM_cert_to_DER_cert(value)
    except ValueError:
        raise _invalid(key) from None


def _entropy(message: Message, key: str) -> bytes:
    try:
        value = base64.b64decode(_expect(message, key, str), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(key) from None
    if not _MIN_ENTROPY <= len(value) <= _MAX_ENTROPY:
        raise _invalid(key)
    return value
