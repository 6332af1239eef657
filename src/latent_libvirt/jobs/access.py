# SPDX-License-Identifier: GPL-2.0-only
"""Access to a job API as people give it: the URL of ``/jobs``, and the file with a token."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import display_name

TOKEN_VARIABLE: Final = "LATENT_LIBVIRT_TOKEN"  # noqa: S105 - a name

_FOR_OTHERS: Final = 0o077
_LONGEST_TOKEN: Final = 1000


def fault_of(url: str) -> str:
    """Return what is wrong with a URL; nothing if it can be asked."""
    try:
        parts = urlsplit(url)
        is_good = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        return f"{url!r} is no URL: {error}"
    if parts.scheme not in ("http", "https"):
        return "it must begin with http:// or https://"
    if not is_good or not url.isascii() or not url.isprintable() or " " in url:
        return f"{url!r} is no URL of a server"
    if "@" in parts.netloc or parts.query or parts.fragment:
        return f"{url!r} must be that of /jobs alone: without a user, '?' or '#'"
    return ""


def token(file: Path | None) -> str | None:
    """Return the token; never from the command line, which every user of the machine can see."""
    if file is None:
        where, found = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE, "").strip()
    else:
        where, found = f"the token file {display_name(file)}", secret_in(file, "token file")
    if not found.isascii() or not found.isprintable() or len(found) > _LONGEST_TOKEN:
        raise ConfigurationError(
            f"{where} holds something else than a token",
            resolution="It has to hold what 'latent-libvirt token create' printed, and no more.",
        )
    if file is not None and not found:
        raise ConfigurationError(f"{where} is empty")
    return found or None


def secret_in(file: Path, what: str) -> str:
    """Return what a file holds that only its owner may read, such as a token.

    A FIFO does not hold anybody up, and of a huge file the beginning is read.

    :param what: what the file is, for errors.
    """
    shown = display_name(file)
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as stream:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigurationError(f"the {what} {shown} is no ordinary file")
            if mode & _FOR_OTHERS:
                raise ConfigurationError(
                    f"others than its owner can read {shown}",
                    resolution=f"chmod 600 {shlex.quote(str(file))}",
                )
            return stream.read(_LONGEST_TOKEN + 2).decode("utf-8", "replace").strip()
    except OSError as error:
        raise ConfigurationError(
            f"the {what} {shown} cannot be read", details=error.strerror
        ) from error
