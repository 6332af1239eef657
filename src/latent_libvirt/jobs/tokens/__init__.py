# SPDX-License-Identifier: GPL-2.0-only
"""Tokens of clients. Each has a name, an expiry, and limits of what it may be used for.

A token is 256 random bits, so a plain SHA-256 of it is all that has to be kept: a slow hash
protects what people choose, and there is nothing to guess here. So the file holds no secret; it is
its owner's alone nevertheless.
"""

from __future__ import annotations

from latent_libvirt.jobs.tokens.changes import Scope, create, revoke
from latent_libvirt.jobs.tokens.file import read
from latent_libvirt.jobs.tokens.live import LiveTokens
from latent_libvirt.jobs.tokens.token import (
    DEFAULT_MAX_PRIORITY,
    DEFAULT_MAX_UNFINISHED,
    Token,
)

__all__ = [
    "DEFAULT_MAX_PRIORITY",
    "DEFAULT_MAX_UNFINISHED",
    "LiveTokens",
    "Scope",
    "Token",
    "create",
    "read",
    "revoke",
]
