# SPDX-License-Identifier: GPL-2.0-only
"""The endpoints that workers in guests can connect to: ``c["protocols"]["pb"]["port"]``.

Buildbot takes any endpoint of Twisted's there. Guests are told an address and a TCP port. Where the
port speaks TLS (``ssl:``), they are also told its certificate, and accept no other: it comes to
them from the master itself, so neither its name nor who has signed it says any more.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from latent_libvirt.errors import ConfigurationError

PLAIN: Final = ("tcp", "tcp6")
SECURE: Final = "ssl"
LARGEST: Final = 64 * 1024  # bytes of a certificate's file

_EXAMPLE: Final = "ssl:9989:privateKey=key.pem:certKey=cert.pem"
_REASONS: Final = {
    "tls": f"a server's endpoint with TLS is written like {_EXAMPLE}",
    "unix": "guests share no file system with their master",
}
_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s.+?-----END CERTIFICATE-----", re.DOTALL
)


NOWHERE: Final = "nowhere:"
"""The endpoint of a master that listens for no workers."""


def refuse_unusable(port: str | int) -> None:
    """See that guests can connect to an endpoint.

    :param port: as ``master.cfg`` has it.
    :raises ConfigurationError: they cannot.
    """
    if port == NOWHERE:
        raise ConfigurationError(
            "the master does not listen for workers, and this label's worker needs that",
            resolution="Set c['protocols'] = {'pb': {'port': 'tcp:9989'}} in master.cfg, or "
            "connection: channel in the label.",
        )
    kind, colon, _ = str(port).partition(":")
    if colon and kind not in (*PLAIN, SECURE):
        raise ConfigurationError(
            f"workers in VMs cannot connect to {_brief(kind)}",
            details=_REASONS.get(kind, "guests are told an address and a TCP port"),
            resolution="Set c['protocols'] = {'pb': {'port': 'tcp:9989'}} in master.cfg, or "
            f"{_EXAMPLE!r} for TLS.",
        )


def speaks_tls(port: str | int) -> bool:
    """Tell whether an endpoint speaks TLS."""
    return str(port).startswith(f"{SECURE}:")


@cache
def certificate_of(port: str) -> str | None:
    """Return the certificate of an endpoint, in PEM; ``None`` if it speaks no TLS.

    It is read once: what listens goes on with what it has read, when the file is changed.

    :raises ConfigurationError: it cannot be read.
    """
    return read_certificate(port) if speaks_tls(port) else None


def read_certificate(port: str, directory: Path = Path()) -> str:
    """Return the certificate of an endpoint, in PEM, and nothing else that its file may hold.

    :param directory: where the master runs.
    :raises ConfigurationError: it cannot be read.
    """
    path = directory / certificate_file(port)
    try:
        with path.open("rb") as file:
            found = _CERTIFICATE.search(file.read(LARGEST))
    except OSError as error:
        raise _unusable(path, f"it cannot be read: {error.strerror}") from None
    if found is None:
        raise _unusable(path, "it holds no certificate (-----BEGIN CERTIFICATE-----)")
    return found[0].decode(errors="replace") + "\n"


def certificate_file(port: str) -> str:
    """Return the name of the file with an endpoint's certificate."""
    given = parameters(port)
    return given.get("certKey") or key_file(port)


def key_file(port: str) -> str:
    """Return the name of the file with an endpoint's private key."""
    return parameters(port).get("privateKey") or "server.pem"  # Twisted's default


def parameters(port: str) -> dict[str, str]:
    """Return the parameters of an ``ssl:`` endpoint by their names."""
    found = dict[str, str]()
    names = iter(("port", "privateKey", "certKey"))
    for part in re.split(r"(?<!\\):", port)[1:]:
        key, equals, value = part.partition("=")
        name, text = (key, value) if equals else (next(names, ""), part)
        found[name] = re.sub(r"\\(.)", r"\1", text)
    return found


def _unusable(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the certificate {path} of the port for workers is of no use",
        details=why,
        resolution=f"Correct c['protocols']['pb']['port'] in master.cfg ({_EXAMPLE}).",
    )


def _brief(kind: str) -> str:
    """Return what to call an endpoint without what else its string holds."""
    return f"an endpoint '{kind}:...', which c['protocols']['pb']['port'] is"
