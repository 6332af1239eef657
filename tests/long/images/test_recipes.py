# SPDX-License-Identifier: GPL-2.0-only
"""Images of recipes are built, and run a job: those that ship, and one that extends one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import buildmaster
import lab as lab_module
from latent_libvirt.cli import main
from latent_libvirt.images import recipes
from latent_libvirt.images.local import MANIFEST, LocalImage, newest
from pools import PoolSettings, master_cfg, write_pool

DEADLINE = 1800.0
"""Seconds for a job that boots under emulation, on a machine that does other things as well."""


@pytest.fixture
def output(cache: Path) -> Path:
    """Give the directory of images, with the packages of earlier builds."""
    return cache / "images"


def built(recipe: str | Path, output: Path) -> LocalImage:
    """Build an image with the command, unless there is one of the same recipe."""
    result = CliRunner().invoke(main, ["image", "build", str(recipe), "--output", str(output)])
    assert result.exit_code == 0, result.output
    return newest(output, Path(recipe).name)


def run_job(image: LocalImage, command: str, directory: Path, cache: Path) -> str:
    """Run a command in a resumed VM of the image; return the log of the master if it fails."""
    name = image.description.name
    settings = PoolSettings(
        image=f"{{name: {name}}}",
        slots=1,
        label_max_vms=1,
        start="resume",
        boot_timeout="15m",
        attach_timeout="5m",
        label_keys=f"arch: {image.description.architecture}",
    )
    factory = (
        f"factory = util.BuildFactory([steps.ShellCommand(command=['sh', '-ec', {command!r}])])"
    )
    master = directory / "master"
    master.mkdir()
    with lab_module.running(directory / "lab", cache=cache) as lab:
        lab.publish(image)
        write_pool(master, lab.uri, settings)
        with buildmaster.running(master, master_cfg(factory)) as running:
            job = running.force()
            if (result := running.wait_for_result(job, deadline=DEADLINE)) != "SUCCESS":
                return f"{result}\n{running.logs(running.builds(job)[0])}\n{running.log}"
    return ""


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_that_ships_is_built_and_runs_a_job(
    name: str, tmp_path: Path, output: Path, cache: Path
) -> None:
    image = built(name, output)
    settings = recipes.load(name).settings
    command = (
        f"test $(uname -m) = {settings.arch};"
        f" grep -r {settings.suite} /etc/apt; sudo -n true; python3 -m venv ~/venv;"
        " test -s /etc/resolv.conf; sudo /usr/lib/latent-libvirt/renew-address"
    )

    assert run_job(image, command, tmp_path, cache) == ""


def test_a_recipe_that_extends_another_one_is_built_and_runs_a_job(
    tmp_path: Path, output: Path, cache: Path
) -> None:
    recipe = tmp_path / "own-recipe"
    (recipe / "files/etc").mkdir(parents=True)
    (recipe / "files/etc/mine").write_text("of mine\n")
    text = 'base = "debian-12"\npackages = ["bc"]\nscript = "setup"\n'
    (recipe / "recipe.toml").write_text(text)
    (recipe / "setup").write_text("#!/bin/sh\ninstall -o worker /etc/mine ~worker/mine\n")
    (recipe / "setup").chmod(0o755)
    image = built(recipe, output)

    assert "deb bc " in (image.directory / MANIFEST).read_text()
    command = 'test "$(echo 6*7 | bc)" = 42; cmp ~/mine /etc/mine; test -O ~/mine'
    assert run_job(image, command, tmp_path, cache) == ""
