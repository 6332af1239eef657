# SPDX-License-Identifier: GPL-2.0-only
"""A session with a master's web UI, as a browser has one: a login, and a cookie from then on."""

from __future__ import annotations

import base64
import http.cookiejar
import os
import secrets
import urllib.request
from pathlib import Path
from typing import Any, Final

TIMEOUT: Final = 30.0  # seconds


class WebSession:
    """Logs in at the first request.

    :param url: of the web UI, with a slash at the end.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url = url
        self._credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(cookies)
        self._is_logged_in = False

    def open(self, request: urllib.request.Request | str) -> Any:
        """Return the answer to a request, which is a context manager."""
        if not self._is_logged_in:
            head = {"Authorization": f"Basic {self._credentials}"}
            login = urllib.request.Request(f"{self._url}auth/login", headers=head)  # noqa: S310
            self._opener.open(login, timeout=TIMEOUT).close()
            self._is_logged_in = True
        return self._opener.open(request, timeout=TIMEOUT)


def make_password(path: Path) -> str:
    """Write a new password to a file that is its owner's alone; return it."""
    password = secrets.token_urlsafe(16)
    write_secret(path, password)
    return password


def write_secret(path: Path, secret: str) -> None:
    """Write a secret to a new file that is its owner's alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        print(secret, file=file)
