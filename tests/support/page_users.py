# SPDX-License-Identifier: GPL-2.0-only
"""Users of the page "VMs" of a master: with a program, or with a browser."""

from __future__ import annotations

import base64
import http.cookiejar
import json
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Any

from browser import Browser
from buildmaster import BuildMaster
from commands import status

POOL = "1/latent_libvirt"
"""The pool's id."""

PAGE = """
BuildmasterConfig["www"]["plugins"]["latent_libvirt"] = {}
"""
"""Statements of a master with the page, where nobody may act."""

PAGE_WITH_BUTTONS = (
    PAGE
    + """
BuildmasterConfig["www"]["auth"] = util.UserPasswordAuth({"admin": "pw"})
BuildmasterConfig["www"]["authz"] = util.Authz(
    allowRules=[util.PoolEndpointMatcher(role="admins")],
    roleMatchers=[util.RolesFromUsername(roles=["admins"], usernames=["admin"])],
)
"""
)
"""Statements of a master with the page, where the user ``admin`` may act."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows none."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Return no request."""


class User:
    """A user of the web UI with a program for a browser; *name* is empty without a login."""

    def __init__(self, master: BuildMaster, name: str) -> None:
        self._page = f"{master.ui}plugins/latent_libvirt/"
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(cookies, _NoRedirects)
        if name:
            secret = base64.b64encode(f"{name}:pw".encode()).decode()
            login = urllib.request.Request(f"{master.ui}auth/login")
            login.add_header("Authorization", f"Basic {secret}")
            with suppress(urllib.error.HTTPError):  # a redirection to where a proxy may be
                self._opener.open(login, timeout=60).close()

    def ask(
        self, wanted: object, *, body: bytes | None = None, **headers: Any
    ) -> tuple[int, dict[str, Any]]:
        """Ask for an action; return the status and the answer."""
        body = body or json.dumps({"pool": POOL, "request": wanted}).encode()
        kind = {"Content-Type": "application/json"}
        given = kind | {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"{self._page}actions", body, given)
        try:
            with self._opener.open(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def get(self, path: str, **headers: str) -> int:
        """Get something of the page; return the status."""
        request = urllib.request.Request(f"{self._page}{path}", headers=headers)
        try:
            with self._opener.open(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


def audit(master: BuildMaster) -> list[dict[str, Any]]:
    """Return the lines of the audit log."""
    path = master.directory / "vms-audit.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def logged_in(master: BuildMaster, browser: Browser, name: str) -> None:
    """Log in, and open the page."""
    browser.open(f"{master.ui}auth/login".replace("//", f"//{name}:pw@"))
    browser.open("about:blank")
    browser.open(f"{master.ui}#/vms")
    browser.wait_for_text("Pool latent_libvirt of")


def building(master: BuildMaster, *, number: int = 1) -> dict[str, Any] | None:
    """Return the VM in which the build of that number runs, or a later one, if it does.

    A VM whose build has ended is there for a moment longer.
    """
    for vm in status(master)["leases"]:
        job = vm["job"]
        if vm["phase"] == "build" and job and job["builder"] == "check" and job["number"] >= number:
            return dict(vm)
    return None


def next_number(master: BuildMaster) -> int:
    """Return the number of the next build of the builder ``check``."""
    return 1 + max((build["number"] for build in master.get("builders/check/builds")), default=0)
