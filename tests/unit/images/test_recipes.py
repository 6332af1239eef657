# SPDX-License-Identifier: GPL-2.0-only
"""Recipes: those that ship, and what makes two of them differ."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import recipes
from latent_libvirt.images.recipes import Recipe


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of a recipe that may be changed."""
    directory = tmp_path / "debian-12"
    shutil.copytree(recipes.load("debian-12").directory, directory)
    return directory


def test_debian_12_ships_with_the_package() -> None:
    assert "debian-12" in recipes.names()


def test_a_recipe_that_does_not_exist_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'debian-12'"):
        recipes.load("debain-12")


@pytest.mark.parametrize("name", ["", "..", "debian-12/files", "/etc"])
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no recipe"):
        recipes.load(name)


def test_equal_recipes_have_equal_fingerprints(copy: Path) -> None:
    assert Recipe(copy).fingerprint == recipes.load("debian-12").fingerprint


@pytest.mark.parametrize("file", ["recipe.toml", "customize", "initrd-init", "files/etc/fstab"])
def test_any_change_of_a_recipe_is_another_recipe(copy: Path, file: str) -> None:
    with (copy / file).open("a") as changed:
        changed.write("\n")

    assert Recipe(copy).fingerprint != recipes.load("debian-12").fingerprint


def test_a_file_that_is_no_longer_executable_makes_another_recipe(copy: Path) -> None:
    (copy / "customize").chmod(0o644)

    assert Recipe(copy).fingerprint != recipes.load("debian-12").fingerprint


def test_a_file_that_was_moved_makes_another_recipe(copy: Path) -> None:
    (copy / "files/etc/fstab").rename(copy / "files/fstab")

    assert Recipe(copy).fingerprint != recipes.load("debian-12").fingerprint


def test_what_came_of_a_recipe_is_not_part_of_it(copy: Path) -> None:
    (copy / "manifest.txt").unlink()

    assert Recipe(copy).fingerprint == recipes.load("debian-12").fingerprint


@pytest.mark.parametrize("line", ["surprise = 1", "epoch = 0", "suite ="])
def test_a_recipe_that_makes_no_sense_is_refused(copy: Path, line: str) -> None:
    text = (copy / "recipe.toml").read_text()
    kept = (row for row in text.splitlines() if not row.startswith(line.split(" ", 1)[0]))
    (copy / "recipe.toml").write_text("\n".join([line, *kept]))

    with pytest.raises(ConfigurationError, match=r"recipe\.toml is no recipe"):
        Recipe(copy)


@pytest.mark.parametrize("name", recipes.names())
def test_the_scripts_of_a_recipe_are_shell(name: str) -> None:
    directory = recipes.load(name).directory
    for path in directory.rglob("*"):
        if path.is_file() and path.read_bytes().startswith((b"#!/bin/sh", b"#!/bin/busybox sh")):
            subprocess.run(["sh", "-n", str(path)], check=True)


def test_the_command_line_is_one_line_of_words() -> None:
    command_line = recipes.load("debian-12").command_line

    assert command_line == " ".join(command_line.split())
    assert "root=/dev/vda1" in command_line.split()
