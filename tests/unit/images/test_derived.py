# SPDX-License-Identifier: GPL-2.0-only
"""Images that are derived from a recipe by one command; nothing is built here."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from fake_images import fake_image
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import build as build_module
from latent_libvirt.images.derived import Derived, derive
from latent_libvirt.images.description import Description
from latent_libvirt.images.local import DESCRIPTION
from latent_libvirt.images.progress import Reporter
from latent_libvirt.images.recipes import Recipe
from latent_libvirt.images.rootfs import Rootfs


class BegunError(Exception):
    """A build has begun."""


class _Builder:
    """Stands in for the part that takes a minute: shows the recipe."""

    seen: Recipe
    fingerprint: str
    content: dict[str, object]

    def __init__(self, recipe: Recipe, *, cache: Path, draft: Path, reporter: Reporter) -> None:
        _Builder.seen = recipe
        _Builder.fingerprint = recipe.fingerprint
        _Builder.content = tomllib.loads((recipe.directory / "recipe.toml").read_text())

    def build(self) -> Rootfs:
        raise BegunError


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> type[_Builder]:
    monkeypatch.setattr(build_module, "Builder", _Builder)
    monkeypatch.setattr(build_module, "require", lambda _programs: None)
    return _Builder


def begin(wanted: Derived, output: Path) -> None:
    with pytest.raises(BegunError):
        derive(wanted, output, Reporter())


def wanted(**more: object) -> Derived:
    values = {"base": "debian-12", "name": "mine", "packages": ("gcc",), "script": None, **more}
    return Derived(**values)  # type: ignore[arg-type]


def test_a_derived_image_is_its_base_with_packages_a_program_and_a_size(
    tmp_path: Path, begun: type[_Builder]
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")  # not executable: the command line names it, that is enough

    begin(wanted(script=script, disk=2**35), tmp_path / "out")

    assert begun.content == {
        "base": "debian-12",
        "packages": ["gcc"],
        "script": "run",
        "virtual_size": 2**35,
    }
    assert begun.seen.name == "mine"
    assert begun.seen.downloads == "debian-12"


def test_the_same_packages_and_program_are_the_same_image(
    tmp_path: Path, begun: type[_Builder]
) -> None:
    begin(wanted(), tmp_path)
    local = fake_image(tmp_path, name="mine")
    values = local.description.model_dump() | {"recipe": begun.fingerprint}
    (local.directory / DESCRIPTION).write_text(Description.model_validate(values).to_json())

    assert derive(wanted(), tmp_path, Reporter()).directory == local.directory
    with pytest.raises(ConfigurationError, match="there is another image 'mine' already"):
        derive(wanted(packages=("g++",)), tmp_path, Reporter())
    begin(wanted(packages=("g++",), again=True), tmp_path)


def test_the_name_of_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'debian-13' is the name of a recipe"):
        derive(wanted(name="debian-13"), tmp_path, Reporter())
