# SPDX-License-Identifier: GPL-2.0-only
"""Imports, derivations and adoptions: local images that are made of a disk.

An import boots a disk of another maker once and installs the launcher. A derivation boots another
local image once. An adoption takes a disk that keeps the contract as it is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import manifest, payload
from latent_libvirt.images.architectures import X86_64
from latent_libvirt.images.seed import write_seed
from latent_libvirt.importing.customising import Customising
from latent_libvirt.importing.derivation import Deriving
from latent_libvirt.importing.making import Making, make
from latent_libvirt.importing.private_host import Machine, PrivateHost
from latent_libvirt.importing.volumes import RESULT
from latent_libvirt.plain_text import as_text

if TYPE_CHECKING:
    from latent_libvirt.images.local import LocalImage
    from latent_libvirt.images.manifest import Manifest
    from latent_libvirt.images.progress import Reporter
    from latent_libvirt.importing.customising import Customised
    from latent_libvirt.importing.derivation import Derivation
    from latent_libvirt.importing.making import Wanted


def import_image(wanted: Customised, output: Path, reporter: Reporter) -> LocalImage:
    """Return a new image below *output*. Runs the reactor, which can be done once in a process.

    :raises ConfigurationError: the file cannot become an image, or the name is taken.
    :raises GuestError: the installation in the guest fails, or the result is no image.
    """
    return make(_Import, wanted, output, reporter, open_host=_host)


def adopt(wanted: Wanted, output: Path, reporter: Reporter) -> LocalImage:
    """Return a new image below *output*. Runs the reactor, which can be done once in a process.

    :raises ConfigurationError: the file cannot be an image, or the name is taken.
    :raises GuestError: a VM of it does not do what the image contract says.
    """
    return make(_Adoption, wanted, output, reporter, open_host=_host)


def derive(wanted: Derivation, output: Path, reporter: Reporter) -> LocalImage:
    """Return an image below *output*: the one of the same base, packages and program, or a new one.

    Runs the reactor, which can be done once in a process.

    :raises ConfigurationError: the base is not what was built, or the name is taken.
    :raises GuestError: what was to be done in the guest fails, or the result is no image.
    """
    architecture = wanted.base.description.architecture
    if architecture != X86_64:
        raise ConfigurationError(
            f"image {wanted.base.description.name!r} is for {architecture}, and a VM of it is "
            "booted on this machine",
            details=f"Only images for {X86_64} can be derived from.",
            resolution="Build such an image from a recipe, with packages or a script.",
        )
    wanted = replace(wanted, firmware=wanted.base.description.firmware)
    if (found := wanted.find(output)) is not None:
        return found
    reporter.stage("comparing the base with its description")
    wanted.base.verify()
    return make(Deriving, wanted, output, reporter, open_host=_host)


def _host(wanted: Wanted, disk: int | None, uri: str, reactor: Any) -> PrivateHost:
    firmware = wanted.firmware or "bios"
    machine = Machine(wanted.vcpus, wanted.memory, disk, wanted.accelerator, firmware)
    return PrivateHost(machine.configuration(uri), reactor=reactor)


class _Import(Customising):
    """One import."""

    _payload = ""

    def _prepare(self) -> None:
        self._reporter.stage("bringing what the guest gets")
        archive, wanted = self._draft / "payload.tar", self._wanted
        self._payload = payload.write_payload(
            archive,
            cache=self._cache / "wheels",
            script=wanted.script,
            packages=wanted.packages,
        )
        write_seed(self._seed, archive, mark=self._mark)
        archive.unlink()

    @property
    def _made_of(self) -> str:
        return f"{self._disk_hash} {self._payload}"

    @property
    def _before(self) -> Manifest:
        pinned = manifest.from_system("", payload.requirements().read_text())
        name = "-".join(as_text(self._disk.path.name).split())
        return {**pinned, **manifest.lineage(f"file:{name} {self._disk_hash}", {})}


class _Adoption(Making):
    """One adoption."""

    def _place(self, storage: Path) -> None:
        self._reporter.stage("copying the disk to one qcow2 file")
        self._disk.copy(storage / RESULT)
