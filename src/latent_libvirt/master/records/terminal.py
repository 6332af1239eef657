# SPDX-License-Identifier: GPL-2.0-only
"""Recordings of terminals, kept with the data of the build that the VM was for."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

if TYPE_CHECKING:
    from latent_libvirt.status.names import BuildRef

log = Logger()

_numbers = itertools.count(1)


async def keep(master: Any, build: BuildRef, recording: bytes) -> None:
    """Make a recording data of a build, called ``terminal-``, the time (UTC), and a number.

    All terminals of a VM that ends are closed in the same second.
    """
    at = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    name = f"terminal-{at}-{next(_numbers)}"
    found = await master.data.get(("builders", build.builder, "builds", build.number))
    if found is None:
        log.warn("a recording is lost: build {build} is gone", build=build.url)
        return
    await master.data.updates.setBuildData(found["buildid"], name, recording, "latent_libvirt")
