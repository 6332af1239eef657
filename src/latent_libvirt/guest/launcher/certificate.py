# SPDX-License-Identifier: GPL-2.0-only
"""Certificate of a master whose port speaks TLS.

It came with the identity, from the master itself. The certificate of the port has to be that one.
Its names and its signer do not matter.
"""

from __future__ import annotations

import hashlib
import ssl

from .errors import LauncherError


def tls() -> ssl.SSLContext:
    """Return what connects by TLS, and leaves it to :func:`see_that_it_is` to whom."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def see_that_it_is(found: bytes | None, wanted: bytes, where: str) -> None:
    """See that a certificate is the master's.

    :raises LauncherError: it is another one.
    """
    if found != wanted:
        raise LauncherError(
            f"{where} has another certificate ({fingerprint(found or b'')}) than the master's "
            f"({fingerprint(wanted)}): it is not the master, or the file was changed after the "
            "master began to listen (then restart the master)"
        )


def fingerprint(certificate: bytes) -> str:
    """Return what people compare certificates by, in short."""
    return f"SHA-256 {hashlib.sha256(certificate).hexdigest()[:16]}..."
