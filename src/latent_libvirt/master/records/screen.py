# SPDX-License-Identifier: GPL-2.0-only
"""The last screen of a build that failed, kept with the data of the build."""

from __future__ import annotations

from typing import Any, Final

from buildbot.process.results import EXCEPTION, FAILURE
from twisted.logger import Logger

from latent_libvirt.errors import LatentLibvirtError

log = Logger()

NAME: Final = "screen.png"


async def keep(build: Any, machine: Any) -> None:
    """Keep what the VM of *build* shows, and link to it from the build's last step.

    :param machine: the VM, which is still there.
    """
    if build.results not in (FAILURE, EXCEPTION) or build.buildid is None:
        return
    try:
        picture = await machine.picture()
    except LatentLibvirtError as error:
        log.warn("build {build} has no picture of its screen: {why}", build=build, why=error.brief)
        return
    updates = build.master.data.updates
    await updates.setBuildData(build.buildid, NAME, picture, "latent_libvirt")
    if build.executedSteps:
        link = (
            f"{build.master.config.buildbotURL}plugins/latent_libvirt/screen?build={build.buildid}"
        )
        await updates.addStepURL(build.executedSteps[-1].stepid, "the screen at its end", link)
