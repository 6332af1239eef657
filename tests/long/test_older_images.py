# SPDX-License-Identifier: GPL-2.0-only
"""Images whose launcher is older than channels, or than the link of their master."""

from __future__ import annotations

from pathlib import Path

import pytest

import buildmaster
import lab as lab_module
from buildmaster import BuildMaster, wait_for
from commands import status
from latent_libvirt.guest.launcher.link.frames import VERSION
from latent_libvirt.images.local import LocalImage
from older_images import older_image
from pools import UNTIL_TOLD, PoolSettings, go_on, master_cfg, write_pool

NAME = "older"

SAID = "its launcher knows no channel; its workers connect by TCP. Build and publish it again."

BUILDS = f"""{UNTIL_TOLD}
factory.addStep(steps.ShellCommand(name="work", command="echo the worker works"))
"""


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("link/frames.py", (f"VERSION: Final = {VERSION}\n", f"VERSION: Final = {VERSION - 1}\n")),
        ("life.py", ('about["channel"] = about["proxy"] = VERSION\n', "pass\n")),
    ],
    ids=["an older link", "no link"],
)
def test_workers_of_older_images_go_on_by_tcp_and_the_log_says_so_once(
    image: LocalImage, cache: Path, tmp_path: Path, file: str, change: tuple[str, str]
) -> None:
    older = older_image(tmp_path / "image", image, NAME, file, change)
    settings = PoolSettings(
        max_vms=2, image=f"{{name: {NAME}}}", start="resume", connection="channel"
    )
    directory = tmp_path / "master"
    directory.mkdir()
    with lab_module.running(tmp_path / "lab", cache=cache) as lab:
        lab.publish(older)
        write_pool(directory, lab.uri, settings)
        with buildmaster.running(directory, master_cfg(BUILDS)) as master:
            jobs = [master.force() for _ in range(2)]
            ways = wait_for("both workers", lambda: connections(master, len(jobs)))
            go_on(master)
            results = [master.wait_for_result(job) for job in jobs]
            log = master.log

    assert (ways, results) == (["tcp"] * 2, ["SUCCESS"] * 2), log[-5000:]
    assert log.count(SAID) == 1
    assert f"image {older.description.short_digest}" in log


def connections(master: BuildMaster, count: int) -> list[str]:
    """Return how the workers have come, if there are *count* of them."""
    found = [lease["connection"] for lease in status(master)["leases"] if lease["connection"]]
    return found if len(found) == count else []
