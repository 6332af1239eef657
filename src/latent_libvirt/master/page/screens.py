# SPDX-License-Identifier: GPL-2.0-only
"""Screens of VMs for the web UI: of a VM that runs, and the last one of a build that failed.

::

    GET plugins/latent_libvirt/screen?pool=POOL&vm=VM_ID
    GET plugins/latent_libvirt/screen?build=BUILD_ID
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buildbot.www.authz.authz import Forbidden
from twisted.web import http

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.master.page import rights, terminal
from latent_libvirt.master.page.actions import RefusedError, asker, check_origin
from latent_libvirt.master.page.audit import DONE, Looks
from latent_libvirt.master.page.far_screen import status_of
from latent_libvirt.master.page.near_screen import NearScreens
from latent_libvirt.master.page.rights import forbidden
from latent_libvirt.master.records import screen

if TYPE_CHECKING:
    from latent_libvirt.master.page.audit import PageAudit
    from latent_libvirt.master.page.board import Board

PNG: Final = b"image/png"

_DIGITS: Final = 19


class Screens:
    """Pictures for users of a master's web UI."""

    def __init__(self, master: Any, audit: PageAudit, board: Board) -> None:
        self._master = master
        self._audit = audit
        self._board = board
        self._looks = Looks(master.reactor)
        self._elsewhere = NearScreens(master)

    async def of_build(self, request: Any, build: str) -> bytes:
        """Return the picture that is kept with the data of a build.

        :raises RefusedError: if the user may not see it, or there is none.
        """
        if not (build.isdecimal() and len(build) < _DIGITS):
            raise RefusedError(http.NOT_FOUND, "there is no such build")
        path = ("builds", int(build), "data", screen.NAME)
        try:
            await self._master.www.assertUserAllowed(request, path, rights.READ, {})
        except Forbidden as error:
            raise RefusedError(http.FORBIDDEN, forbidden(error)) from None
        found = await self._master.data.get((*path, "value"))
        if not found:
            raise RefusedError(http.NOT_FOUND, "the build has no picture of a screen")
        return bytes(found["raw"])

    async def of_vm(self, request: Any, pool: str, vm: str) -> bytes:
        """Return what a VM shows now; note in the audit log who looks, once for a while.

        :raises RefusedError: if the user may not see it, or there is none.
        """
        facts = asker(self._master, request)
        try:
            picture = await self._find(request, pool, vm, facts["user"])
        except RefusedError as refusal:
            if refusal.status == http.FORBIDDEN:
                self._note(facts, pool, vm, "refused", refusal.why)
            raise
        if self._looks.is_new(facts["user"], f"{pool} {vm}"):
            self._note(facts, pool, vm, DONE)
        return picture

    def _note(self, facts: dict[str, str], pool: str, vm: str, *outcome: str) -> None:
        self._audit.note({**facts, "pool": pool, "command": rights.SCREEN, "name": vm}, *outcome)

    async def _find(self, request: Any, pool: str, vm: str, user: str) -> bytes:
        check_origin(self._master, request)
        master, _, name = pool.partition("/")
        try:
            await rights.check(self._master.www, request, name, rights.SCREEN)
        except Forbidden as error:
            raise RefusedError(http.FORBIDDEN, forbidden(error)) from None
        operations = terminal.operations(self._master, pool)
        if operations is None:
            await self._board.look()
            if pool not in self._board.pools:
                raise RefusedError(http.NOT_FOUND, f"no pool {pool} is shown on the page")
            return await self._elsewhere.picture((int(master), name, vm), user)
        try:
            return await operations.picture(vm)
        except LatentLibvirtError as error:
            raise RefusedError(status_of(error), error.on_one_line) from None
