# SPDX-License-Identifier: GPL-2.0-only
"""Passes: proof, for a minute, of who is logged in to Buildbot's web UI.

A session of Buildbot 4.3 is a signed cookie, and no master knows when its user has logged out. So
what stays open for longer than a request asks for a pass again and again. A browser gets one only
by the cookie that it has at that moment. Each master of a database knows the passes of the others.
"""

from __future__ import annotations

import time
from typing import Any, Final

import jwt
from buildbot.www.auth import SESSION_SECRET_ALGORITHM

VALID_FOR: Final = 60
"""Seconds, by the clock, for which a pass is valid."""

LONGEST: Final = 16 * 1024
"""Bytes of a pass."""

_AUDIENCE: Final = "latent_libvirt: who is logged in"
"""What the passes are for. Buildbot takes nothing with an audience for a session."""


def issue(www: Any, user: str) -> str:
    """Return a pass of the user that is called so.

    :param www: Buildbot's web server.
    """
    claims = {"aud": _AUDIENCE, "exp": int(time.time()) + VALID_FOR, "user": user}
    return jwt.encode(claims, www.site.session_secret, algorithm=SESSION_SECRET_ALGORITHM)


def user_of(www: Any, text: bytes) -> str | None:
    """Return whose pass *text* is; ``None`` if it is none, or no longer one."""
    if len(text) > LONGEST:
        return None
    try:
        claims = jwt.decode(
            text,
            www.site.session_secret,
            algorithms=[SESSION_SECRET_ALGORITHM],
            audience=_AUDIENCE,
            leeway=VALID_FOR,  # clocks of masters may differ
        )
    except jwt.InvalidTokenError:
        return None
    return str(claims.get("user"))
