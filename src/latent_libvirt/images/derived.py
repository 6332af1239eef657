# SPDX-License-Identifier: GPL-2.0-only
"""Derived image: a recipe that ships with this package, with more packages and a program.

It is what an own recipe with ``base`` makes, without a directory to write for it.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import build, recipes
from latent_libvirt.images.local import local_images

if TYPE_CHECKING:
    from latent_libvirt.images.local import LocalImage
    from latent_libvirt.images.progress import Reporter

_SCRIPT: Final = "run"


@dataclass(frozen=True)
class Derived:
    """What is to be made.

    :param base: the name of a recipe that ships with this package.
    :param packages: Debian packages besides those of the base.
    :param script: a program that runs inside the image as root, last; ``None`` for none.
    :param disk: bytes of the disk as a guest sees it; ``None`` for the base's.
    :param again: whether there may be images of that name.
    """

    base: str
    name: str
    packages: tuple[str, ...]
    script: Path | None
    disk: int | None = None
    again: bool = False


def derive(wanted: Derived, output: Path, reporter: Reporter) -> LocalImage:
    """Return the image below *output*: the one of the same packages and program, or a new one.

    :raises ConfigurationError: there is no such recipe, or the name is taken.
    :raises BuildError: a program failed, or something cannot be downloaded.
    """
    if wanted.name in recipes.names():
        raise ConfigurationError(
            f"{wanted.name!r} is the name of a recipe",
            details="VMs take the newest image of a name, and would get the one or the other.",
            resolution="Choose another --name.",
        )
    for name in wanted.packages:
        if not re.fullmatch(recipes.PACKAGE_PATTERN, name):
            raise ConfigurationError(f"{name!r} is no name of a Debian package")
    with tempfile.TemporaryDirectory(prefix="latent-libvirt-") as directory:
        recipe = _write(wanted, Path(directory, wanted.name))
        if not wanted.again:
            _refuse_taken(recipe, output)
        return build.build(recipe, output, reporter=reporter)


def _write(wanted: Derived, directory: Path) -> recipes.Recipe:
    """Write the recipe, and return it."""
    directory.mkdir()
    keys: dict[str, object] = {"base": wanted.base, "packages": list(wanted.packages)}
    if wanted.script is not None:
        keys["script"] = _SCRIPT
        script = directory / _SCRIPT
        script.write_bytes(wanted.script.read_bytes())
        script.chmod(0o755)
    if wanted.disk is not None:
        keys["virtual_size"] = wanted.disk
    lines = (f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    (directory / "recipe.toml").write_text("".join(lines))
    return recipes.find(str(directory))


def _refuse_taken(recipe: recipes.Recipe, output: Path) -> None:
    """Refuse a name that an image of something else has."""
    if build.existing(recipe, output) is None and (there := local_images(output, recipe.name)):
        raise ConfigurationError(
            f"there is another image {recipe.name!r} already, {there[0].description.short_digest}",
            details=f"It is in {there[0].directory}.",
            resolution="Choose another --name. Or add --again: then both stay, and VMs take the "
            "one that was published last.",
        )
