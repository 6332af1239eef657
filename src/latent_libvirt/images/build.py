# SPDX-License-Identifier: GPL-2.0-only
"""Build of an image: from a recipe to a local directory, all of ``latent-libvirt image build``.

A build works in a separate directory next to its result, and renames that into place when it is
complete. Builds of the same name in the same output wait for each other.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.guest.launcher.version import launcher_version
from latent_libvirt.images import foreign, manifest, workspace
from latent_libvirt.images.architectures import X86_64
from latent_libvirt.images.description import Description, Parts, digest_of
from latent_libvirt.images.disk import DiskBuilder
from latent_libvirt.images.local import (
    FILES,
    MANIFEST,
    local_images,
    measure,
)
from latent_libvirt.images.programs import BuildError, require
from latent_libvirt.images.progress import Reporter
from latent_libvirt.images.rootfs import Builder

if TYPE_CHECKING:
    from latent_libvirt.images.local import LocalImage
    from latent_libvirt.images.recipes import Recipe
    from latent_libvirt.images.rootfs import Rootfs

_CACHE: Final = "cache"


def existing(recipe: Recipe, output: Path) -> LocalImage | None:
    """Return the newest image that was built from this very recipe, if there is one."""
    images = local_images(output, recipe.name)
    return next((i for i in images if i.description.recipe == recipe.fingerprint), None)


def build(
    recipe: Recipe,
    output: Path,
    *,
    rebuild: bool = False,
    locked: bool = False,
    reporter: Reporter | None = None,
) -> LocalImage:
    """Return an image of *recipe* below *output*: the one that is there, or a new one.

    :param rebuild: make a new one even so, of today's packages.
    :param locked: refuse packages other than those of the recipe's manifest.
    :raises BuildError: a program failed, or something cannot be downloaded.
    :raises ConfigurationError: the machine lacks something, or *locked* and packages differ.
    """
    if locked:
        _refuse_without_manifest(recipe)
    directory = output.absolute() / recipe.name
    reporter = reporter or Reporter()
    with workspace.locked(directory, reporter):
        found = None if rebuild else existing(recipe, output)
        if found is not None and not (locked and _unexpected(recipe, found.directory)):
            return found
        with _cache(recipe, output, reporter) as cache, workspace.draft(directory) as draft:
            return _Build(recipe, directory, cache, draft, reporter).run(locked=locked)


@contextmanager
def _cache(recipe: Recipe, output: Path, reporter: Reporter) -> Iterator[Path]:
    """Give the directory of downloads, which an extension shares with its base."""
    directory = output.absolute() / recipe.downloads
    if recipe.downloads == recipe.name:
        yield directory / _CACHE
        return
    with workspace.locked(directory, reporter):
        yield directory / _CACHE


def _refuse_without_manifest(recipe: Recipe) -> None:
    if not recipe.manifest.exists():
        raise ConfigurationError(
            f"the recipe {recipe.name} has no {recipe.manifest.name}, so nothing says which "
            "packages are expected",
            resolution="Build without --locked, and copy that file of the image to "
            f"{recipe.directory}.",
        )


def _unexpected(recipe: Recipe, directory: Path) -> list[str]:
    """Return in words how an image's packages differ from those of the recipe's manifest."""
    if not recipe.manifest.exists():
        return []
    found = manifest.read(directory / MANIFEST)
    return list(manifest.differences(manifest.read(recipe.manifest), found))


_NEEDED: Final = {
    "mmdebstrap": "mmdebstrap",
    "fakeroot": "fakeroot",
    "sfdisk": "fdisk",
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
}
"""Programs that a build runs, with the Debian packages that have them."""


def _needed(arch: str) -> dict[str, str]:
    """Return the programs for a system of *arch*, likewise."""
    needed = dict(_NEEDED)
    if arch == X86_64:
        needed["grub-mkimage"] = "grub-common grub-pc-bin"
    if is_foreign := foreign.is_foreign(arch):
        needed[foreign.qemu(arch)] = foreign.PACKAGE
    if is_foreign or os.geteuid() != 0:
        # Else root unpacks Debian, and needs no other user ids for that.
        needed["newuidmap"] = "uidmap"
    return needed


_NEWER: Final = (
    "Debian has published other packages since the manifest was written. The image is good, and "
    "has them. latent-libvirt image build --locked refuses such packages."
)


class _Build:
    """One build, from nothing to an image in its place."""

    def __init__(
        self, recipe: Recipe, directory: Path, cache: Path, draft: Path, reporter: Reporter
    ) -> None:
        self._recipe = recipe
        self._directory = directory
        self._cache = cache
        self._draft = draft
        self._reporter = reporter
        self._result = draft / "result"

    def run(self, *, locked: bool) -> LocalImage:
        require(_needed(self._recipe.settings.arch))
        self._result.mkdir()
        rootfs = Builder(
            self._recipe, cache=self._cache, draft=self._draft, reporter=self._reporter
        ).build()
        self._write_manifest(rootfs, locked=locked)
        self._reporter.stage("taking out kernel and initial RAM disk")
        extract_boot_files(rootfs.archive, self._result)
        self._reporter.stage("making the disk")
        DiskBuilder(self._recipe, draft=self._draft).build(
            rootfs.archive, self._result / FILES["disk"]
        )
        self._reporter.stage("working out the digest")
        return workspace.place(self._result, self._directory, self._describe())

    def _write_manifest(self, rootfs: Rootfs, *, locked: bool) -> None:
        recipe = self._recipe
        found = {
            **manifest.from_system(rootfs.packages, recipe.requirements.read_text()),
            **_lineage(recipe),
        }
        (self._result / MANIFEST).write_text(manifest.serialize(found))
        differs = _unexpected(recipe, self._result)
        for difference in differs:
            self._reporter.note(f"not as in the recipe's manifest: {difference}")
        if differs and not locked:
            self._reporter.note(_NEWER)
        if differs and locked:
            raise ConfigurationError(
                f"the packages of image {recipe.name} are not those of {recipe.manifest}",
                details="\n".join(differs),
                resolution="Build without --locked, or point apt at a snapshot of the archive.",
            )

    def _describe(self) -> Description:
        parts = Parts.model_validate(
            {part: measure(self._result / name) for part, name in FILES.items()}
        )
        return Description(
            name=self._recipe.name,
            digest=digest_of(parts, self._recipe.command_line),
            created=datetime.now(UTC).replace(microsecond=0),
            virtual_size=self._recipe.settings.virtual_size,
            command_line=self._recipe.command_line,
            parts=parts,
            launcher=launcher_version(),
            recipe=self._recipe.fingerprint,
            architecture=self._recipe.settings.arch,
        )


def _lineage(recipe: Recipe) -> manifest.Manifest:
    """Return the recipes that *recipe* extends, nearest first."""
    if recipe.base is None:
        return {}
    nearest = f"recipe:{recipe.base.name} {recipe.base.fingerprint}"
    return manifest.lineage(nearest, _lineage(recipe.base))


def extract_boot_files(archive: Path, target: Path) -> None:
    """Copy kernel and initial RAM disk from a root file system to the directory *target*.

    :raises BuildError: there is not exactly one of each.
    """
    wanted = {"./boot/vmlinuz-": FILES["kernel"], "./boot/initrd.img-": FILES["initrd"]}
    with tarfile.open(archive) as root:
        members = [member for member in root if member.isfile()]
        for prefix, name in wanted.items():
            found = [member for member in members if member.name.startswith(prefix)]
            if len(found) != 1:
                raise BuildError(f"an image has one file {prefix}*, and this has {len(found)}")
            content = root.extractfile(found[0])
            assert content is not None
            with (target / name).open("wb") as file:
                shutil.copyfileobj(content, file)
