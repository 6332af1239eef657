# SPDX-License-Identifier: GPL-2.0-only
"""Screens of VMs for the web UI: of a VM that runs, and the last one of a build that failed.

::

    GET plugins/latent_libvirt/screen?pool=POOL&vm=VM_ID
    GET plugins/latent_libvirt/screen?build=BUILD_ID
"""

from __future__ import annotations

from typing import Any, Final

from buildbot.www.authz.authz import Forbidden
from twisted.web import http

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.master import screen_record
from latent_libvirt.master.page import rights, terminal
from latent_libvirt.master.page.actions import RefusedError, forbidden

PNG: Final = b"image/png"

_DIGITS: Final = 19


class Screens:
    """Pictures for users of a master's web UI."""

    def __init__(self, master: Any) -> None:
        self._master = master

    async def of_build(self, request: Any, build: str) -> bytes:
        """Return the picture that is kept with the data of a build.

        :raises RefusedError: if the user may not see it, or there is none.
        """
        if not (build.isdecimal() and len(build) < _DIGITS):
            raise RefusedError(http.NOT_FOUND, "there is no such build")
        path = ("builds", int(build), "data", screen_record.NAME)
        try:
            await self._master.www.assertUserAllowed(request, path, rights.READ, {})
        except Forbidden as error:
            raise RefusedError(http.FORBIDDEN, forbidden(error)) from None
        found = await self._master.data.get((*path, "value"))
        if not found:
            raise RefusedError(http.NOT_FOUND, "the build has no picture of a screen")
        return bytes(found["raw"])

    async def of_vm(self, request: Any, pool: str, vm: str) -> bytes:
        """Return what a VM shows now.

        :raises RefusedError: if the user may not see it, or there is none.
        """
        name = pool.partition("/")[2]
        try:
            await rights.check(self._master.www, request, name, rights.SCREEN)
        except Forbidden as error:
            raise RefusedError(http.FORBIDDEN, forbidden(error)) from None
        operations = terminal.operations(self._master, pool)
        if operations is None:
            why = "only the master whose VM it is shows its screen"
            raise RefusedError(http.NOT_FOUND, why)
        try:
            return await operations.picture(vm)
        except LatentLibvirtError as error:
            raise RefusedError(http.NOT_FOUND, error.brief) from None
