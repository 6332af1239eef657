# SPDX-License-Identifier: GPL-2.0-only
"""Check of the port for workers in ``master.cfg``: whether guests can use it, and its certificate.

Guests accept the very certificate that the master has. Its names and its signer do not matter.
So what can be wrong with it is what would keep the master from listening.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from latent_libvirt.doctor.finding import fine, warning
from latent_libvirt.endpoints import (
    LARGEST,
    key_file,
    read_certificate,
    refuse_unusable,
    speaks_tls,
)
from latent_libvirt.errors import ConfigurationError

if TYPE_CHECKING:
    from latent_libvirt.config.listener import Listener
    from latent_libvirt.doctor.finding import Finding

CHECK: Final = "port for workers"


def check(listener: Listener, directory: Path, *, by_tcp: bool = True) -> list[Finding]:
    """Look at an endpoint.

    :param directory: where the master runs, and looks for files.
    :param by_tcp: whether workers of any label connect to it.
    :raises ConfigurationError: guests cannot use it, or the master cannot.
    """
    if not by_tcp:
        return [fine(CHECK, f"no guest connects to it, for all workers use channels ({listener})")]
    refuse_unusable(listener.endpoint)
    if not speaks_tls(listener.endpoint):
        return [fine(CHECK, f"guests can connect to it, without TLS ({listener})")]
    certificate = _certificate(listener.endpoint, directory)
    _see_that_it_fits(certificate, listener.endpoint, directory)
    return [fine(CHECK, f"guests can connect to it, by TLS ({listener})"), *_validity(certificate)]


def _certificate(endpoint: str, directory: Path) -> x509.Certificate:
    pem = read_certificate(endpoint, directory)
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise _unusable("its certificate is broken", str(error)) from None


def _see_that_it_fits(certificate: x509.Certificate, endpoint: str, directory: Path) -> None:
    path = directory / key_file(endpoint)
    try:
        with path.open("rb") as file:
            key = load_pem_private_key(file.read(LARGEST), password=None)
    except OSError as error:
        raise _unusable(f"its key {path} cannot be read", error.strerror) from None
    except (ValueError, TypeError):  # the latter if it wants a password
        raise _unusable(f"{path} holds no key that can be read without a password", None) from None
    if key.public_key() != certificate.public_key():
        raise _unusable(f"its key {path} is not that of its certificate", None)


def _validity(certificate: x509.Certificate) -> Iterator[Finding]:
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        when = f"has expired ({certificate.not_valid_after_utc:%Y-%m-%d})"
    elif certificate.not_valid_before_utc > now:
        when = f"is not valid yet ({certificate.not_valid_before_utc:%Y-%m-%d})"
    else:
        return
    yield warning(
        CHECK,
        f"its certificate {when}",
        details="Guests know the certificate itself and still connect. Other programs do not.",
        resolution="Renew it, and restart the master, which goes on with the one it has read.",
    )


def _unusable(why: str, details: str | None) -> ConfigurationError:
    return ConfigurationError(
        f"the port for workers cannot speak TLS: {why}",
        details=details,
        resolution="Correct the files that c['protocols']['pb']['port'] in master.cfg names.",
    )
