# SPDX-License-Identifier: GPL-2.0-only
"""Recordings of terminals, kept with the data of the build that the VM was for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

if TYPE_CHECKING:
    from latent_libvirt.status import BuildRef

log = Logger()


async def keep(master: Any, build: BuildRef, recording: bytes) -> None:
    """Make a recording data of a build, called ``terminal-`` and the time (UTC)."""
    found = await master.data.get(("builders", build.builder, "builds", build.number))
    if found is None:
        log.warn("a recording is lost: build {build} is gone", build=build.url)
        return
    name = time.strftime("terminal-%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    await master.data.updates.setBuildData(found["buildid"], name, recording, "latent_libvirt")
