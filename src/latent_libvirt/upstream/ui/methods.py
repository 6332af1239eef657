# SPDX-License-Identifier: GPL-2.0-only
"""Methods of HTTP that a plugin's resource has, and the answer to all others.

Twisted answers a method that it knows with 405, others with 501, and ``HEAD`` with an error where
there is no ``GET``.
"""

from __future__ import annotations

import json
from typing import Any, Final

from twisted.web.http import NOT_ALLOWED

READING: Final = (b"GET", b"HEAD")
"""Methods of what is only read."""


def not_allowed(request: Any, methods: tuple[bytes, ...]) -> bytes:
    """Prepare the answer 405 to *request*; return its body.

    :param methods: those that the resource has.
    """
    allowed = b", ".join(methods)
    request.setResponseCode(NOT_ALLOWED)
    request.setHeader(b"allow", allowed)
    request.setHeader(b"content-type", b"application/json; charset=utf-8")
    request.setHeader(b"x-content-type-options", b"nosniff")
    return json.dumps({"error": f"only {allowed.decode()} can be used here"}).encode()
