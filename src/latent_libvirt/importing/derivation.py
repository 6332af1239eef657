# SPDX-License-Identifier: GPL-2.0-only
"""Derivations: an image of another local image, with packages and a program.

A VM of the base boots once. A shell of root runs on the serial console of every image that is made
here, and the program is typed there. The base may be imported, derived, or built from a recipe.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latent_libvirt.images import manifest, payload
from latent_libvirt.images.local import FILES, MANIFEST, local_images
from latent_libvirt.images.seed import typed
from latent_libvirt.importing.customising import Customised, Customising

if TYPE_CHECKING:
    from latent_libvirt.images.local import LocalImage
    from latent_libvirt.images.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Derivation(Customised):
    """What is to be derived.

    :param base: the image that it is made of. ``file`` is its disk.
    """

    base: LocalImage

    def find(self, output: Path) -> LocalImage | None:
        """Return the image below *output* that was made of the same, if there is one."""
        recipe = hashlib.sha256(self.made_of.encode()).hexdigest()
        there = () if self.again else local_images(output, self.name)
        return next((each for each in there if each.description.recipe == recipe), None)

    @property
    def made_of(self) -> str:
        """What decides the content."""
        program = payload.hash_of_derivation()
        return f"{self.base.description.digest} {self.hash} {program} {self.disk}"


class Deriving(Customising):
    """One derivation."""

    _wanted: Derivation

    def _prepare(self) -> None:
        wanted = self._wanted
        payload.write_derivation(self._seed, script=wanted.script, packages=wanted.packages)

    def _hash_source(self) -> None:
        """Do nothing: the base was compared with its description."""

    @property
    def _typed(self) -> bytes:
        return typed(self._mark)

    @property
    def _made_of(self) -> str:
        return self._wanted.made_of

    @property
    def _before(self) -> Manifest:
        description = self._wanted.base.description
        of_base = manifest.read(self._wanted.base.directory / MANIFEST)
        wheels = {key: value for key, value in of_base.items() if key.startswith("wheel ")}
        nearest = f"{description.name} {description.digest}"
        return {**wheels, **manifest.lineage(nearest, of_base)}

    @property
    def _keeps_kernel(self) -> bool:
        """Whether VMs boot the base's kernel. A new one is booted by the BIOS, from the disk."""
        base = self._wanted.base.description
        return base.parts.kernel is not None and not self._marks.kernel_changed

    @property
    def _command_line(self) -> str:
        return self._wanted.base.description.command_line if self._keeps_kernel else ""

    def _flatten(self, storage: Path, overlay: str) -> None:
        super()._flatten(storage, overlay)
        if self._keeps_kernel:
            for name in ("kernel", "initrd"):
                shutil.copyfile(self._wanted.base.path(name), self._result / FILES[name])
