# SPDX-License-Identifier: GPL-2.0-only
"""A root file system from Debian packages and a recipe, as a tar archive.

mmdebstrap does it, as root or as anybody who may use user namespaces. All that needs the network
happens before, into directories that are kept: a second build needs none.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.images import apt, foreign, workspace
from latent_libvirt.images.archive import write_archive
from latent_libvirt.images.programs import fixed_environment, program, run
from latent_libvirt.images.recipes import LAUNCHER
from latent_libvirt.images.wheels import Wheels

if TYPE_CHECKING:
    from latent_libvirt.images.progress import Reporter
    from latent_libvirt.images.recipes import Recipe

HOME: Final = "usr/lib/latent-libvirt"
"""Where the launcher is inside the image."""

_INSIDE: Final = "latent-libvirt-build"
"""A directory of the image that exists only while it is built."""

# What mmdebstrap is to leave as it finds it: package lists and packages are ours to bring.
_SKIP: Final = "update,download/empty,essential/unlink"


@dataclass(frozen=True)
class Rootfs:
    """A root file system: its sources and its outcome.

    :param archive: the tar archive.
    :param packages: a line ``NAME VERSION`` for every Debian package in it.
    """

    archive: Path
    packages: str


class Builder:
    """Makes the root file system of a recipe.

    :param cache: a directory that is kept from build to build.
    :param draft: a directory for this build alone.
    """

    def __init__(self, recipe: Recipe, *, cache: Path, draft: Path, reporter: Reporter) -> None:
        self._recipe = recipe
        self._cache = cache
        self._draft = draft
        self._reporter = reporter

    def build(self) -> Rootfs:
        """Make it.

        :raises BuildError: a program failed, or something cannot be downloaded.
        :raises ConfigurationError: the machine lacks a program, or a source of packages.
        """
        self._reporter.stage("bringing the lists of packages up to date")
        sources, lists = self._bring_lists()
        self._reporter.stage("downloading what the launcher needs")
        wheels = self._bring_wheels()
        extra = self._draft / "extra.tar"
        write_archive(extra, self._extra_files(wheels), epoch=self._recipe.settings.epoch)
        return self._run_mmdebstrap(sources, lists, extra)

    def _bring_lists(self) -> tuple[Path, Path]:
        settings = self._recipe.settings
        sources = self._draft / "sources.list"
        sources.write_text(apt.sources_list(settings.suite, self._draft / "scratch"))
        state = self._cache / "apt"
        lists = apt.update_lists(
            sources, state, architecture=settings.architecture, reporter=self._reporter
        )
        return sources, lists

    def _bring_wheels(self) -> Path:
        settings = self._recipe.settings
        wanted = Wheels(
            self._recipe.requirements, python=settings.python, platforms=settings.wheel_platforms
        )
        return wanted.bring(self._cache / "wheels", into=self._draft / "wheels")

    def _extra_files(self, wheels: Path) -> dict[str, Path]:
        recipe = self._recipe
        scripts = {f"{_INSIDE}/extend/{n}": path for n, path in enumerate(recipe.scripts)}
        return {
            **recipe.files,
            **scripts,
            **{f"{HOME}/{name}": path for name, path in LAUNCHER.items()},
            f"{_INSIDE}/wheels": wheels,
            f"{_INSIDE}/requirements.txt": recipe.requirements,
            f"{_INSIDE}/initrd-init": recipe.initrd_init,
            f"{_INSIDE}/customize": recipe.customize,
        }

    def _run_mmdebstrap(self, sources: Path, lists: Path, extra: Path) -> Rootfs:
        settings = self._recipe.settings
        archive, packages = self._draft / "root.tar", self._draft / "packages"
        command = [
            *self._prefix(),
            *(program("mmdebstrap", package="mmdebstrap"), "--verbose"),
            *("--variant=minbase", "--format=tar", f"--architectures={settings.architecture}"),
            *(f"--skip={_SKIP}", f"--include={','.join(settings.packages)}"),
            *self._options(),
            *self._hooks(lists, extra, packages),
            *(settings.suite, str(archive), str(sources)),
        ]
        with workspace.temporary(self._cache) as temporary:
            environment = fixed_environment(
                SOURCE_DATE_EPOCH=str(settings.epoch),
                INITRD="No",  # asks the kernel's package not to make one: ours is smaller
                # What packages compile as they are installed is compiled again in the end.
                PYTHONDONTWRITEBYTECODE="1",
                TMPDIR=str(temporary),
            )
            run(command, environment=environment, heard=_Translated(self._reporter))
        return Rootfs(archive, packages.read_text())

    def _prefix(self) -> list[str]:
        is_foreign = foreign.is_foreign(self._recipe.settings.arch)
        return foreign.prefix(self._draft) if is_foreign else []

    def _options(self) -> Iterator[str]:
        arch = self._recipe.settings.arch
        if foreign.is_foreign(arch):
            path = program(foreign.qemu(arch), package=foreign.PACKAGE)
            yield from foreign.options(arch, path)
        yield '--aptopt=APT::Install-Recommends "false"'
        for directory in ("doc", "man", "info", "locale", "lintian", "bug"):
            yield f"--dpkgopt=path-exclude=/usr/share/{directory}/*"
        yield "--dpkgopt=path-include=/usr/share/doc/*/copyright"

    def _hooks(self, lists: Path, extra: Path, packages: Path) -> Iterator[str]:
        archives = self._cache / "apt/cache/archives"
        inside = f"/{_INSIDE}"
        modules = " ".join(self._recipe.settings.initrd_modules)
        query = "dpkg-query --show --showformat='${Package} ${Version}\\n'"
        yield '--setup-hook=mkdir -p "$1/var/cache/apt/archives"'
        yield f"--setup-hook=copy-in {_quoted(lists)} /var/lib/apt"
        yield f"--setup-hook=sync-in {_quoted(archives)} /var/cache/apt/archives"
        yield f"--customize-hook=sync-out /var/cache/apt/archives {_quoted(archives)}"
        yield f"--customize-hook=tar-in {_quoted(extra)} /"
        yield f'--customize-hook=chroot "$1" env MODULES={shlex.quote(modules)} {inside}/customize'
        # Without root, a hook may write inside alone; mmdebstrap's own "download" brings it out.
        yield f'--customize-hook=chroot "$1" {query} >"$1{inside}/packages"'
        yield f"--customize-hook=download {inside}/packages {_quoted(packages)}"
        yield f'--customize-hook=rm -r "$1{inside}"'


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


class _Translated:
    """Passes on what mmdebstrap and the programs below it say of where they are."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def __call__(self, line: str) -> None:
        if line.startswith("I: ") and line.endswith("..."):
            self._reporter.stage(line.removeprefix("I: ").removesuffix("..."))
        elif line.startswith(("Get:", "Unpacking ", "Setting up ")):
            self._reporter.detail(line.removesuffix(" ..."))
