# SPDX-License-Identifier: GPL-2.0-only
"""A new version of an image whose guests do not come up costs no build, and goes back."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

import buildmaster
import lab as lab_module
import tiny_guests
from buildmaster import BuildMaster, wait_for
from commands import status
from lab import Lab
from latent_libvirt.images.description import Description
from latent_libvirt.images.local import FILES, LocalImage
from pools import PoolSettings, master_cfg, write_pool

OFTEN = """
from latent_libvirt.master import maintenance
maintenance.IMAGE_INTERVAL = 0.5
"""

BUILD = """
factory = util.BuildFactory([steps.ShellCommand(command=["true"])])
"""

NAME = "rolled"


@pytest.fixture
def good(image: LocalImage, tmp_path: Path) -> LocalImage:
    """Give the image under another name, which other tests do not use."""
    directory = tmp_path / "good"
    directory.mkdir()
    for name in FILES.values():
        os.link(image.directory / name, directory / name)
    description: Description = image.description.model_copy(update={"name": NAME})
    (directory / "image.json").write_text(description.to_json())
    return LocalImage.load(directory)


def is_known(master: BuildMaster) -> bool:
    """Return whether the master has saved which version is in use."""
    query = "select 1 from object_state where name = ?"
    with contextlib.closing(sqlite3.connect(master.directory / "state.sqlite")) as database:
        return database.execute(query, [f"rollout/{NAME}"]).fetchone() is not None


def label_of(master: BuildMaster) -> dict[str, str]:
    """Return the status of the master's label."""
    label: dict[str, str] = status(master)["labels"][0]
    return label


def test_a_version_whose_guests_die_goes_back_and_the_build_runs(
    good: LocalImage, image: LocalImage, cache: Path, tmp_path: Path
) -> None:
    settings = PoolSettings(image=f"{{name: {NAME}, canary: 99%}}", launch_attempts=20)
    directory = tmp_path / "master"
    directory.mkdir()
    with lab_module.running(tmp_path / "lab", cache=cache) as lab:
        lab.publish(good)
        write_pool(directory, lab.uri, settings)
        with buildmaster.running(directory, master_cfg(OFTEN + BUILD)) as master:
            go_back(lab, master, good, bad_version(tmp_path, image))


def bad_version(directory: Path, image: LocalImage) -> LocalImage:
    """Return a newer version whose guests die."""
    return tiny_guests.make(directory / "bad", image, NAME, tiny_guests.DYING)


def go_back(lab: Lab, master: BuildMaster, good: LocalImage, bad: LocalImage) -> None:
    wait_for("the first version to be known", lambda: is_known(master))
    lab.publish(bad)
    trial = f"version {bad.description.short_digest} is on trial"
    wait_for("the new version to be seen", lambda: trial in label_of(master)["image"])

    job = master.force()

    assert master.wait_for_result(job) == "SUCCESS"
    said = f"version {bad.description.short_digest} is withdrawn, and VMs take "
    assert said + good.description.short_digest in label_of(master)["image"]
    assert said in master.log
    assert "3 of 3 starts failed" in master.log
