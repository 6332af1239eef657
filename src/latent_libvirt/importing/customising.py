# SPDX-License-Identifier: GPL-2.0-only
"""Customising of a disk: one boot of it, in which a program of ours changes it from within.

Imports and derivations do that. The program, its files and what the operator adds are on a seed
disk.
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latent_libvirt.config.units import MIB
from latent_libvirt.errors import GuestError
from latent_libvirt.images import manifest
from latent_libvirt.images.local import MANIFEST
from latent_libvirt.images.programs import program, run
from latent_libvirt.importing.fetching import WayOut
from latent_libvirt.importing.installation import Installation
from latent_libvirt.importing.making import Making, Wanted
from latent_libvirt.importing.marks import Marks
from latent_libvirt.importing.volumes import RESULT, SOURCE

if TYPE_CHECKING:
    from latent_libvirt.config import DestinationConfig
    from latent_libvirt.images.manifest import Manifest
    from latent_libvirt.images.progress import Reporter
    from latent_libvirt.images.source import Source
    from latent_libvirt.importing.private_host import PrivateHost


@dataclass(frozen=True, kw_only=True)
class Customised(Wanted):
    """What is to be done with a disk, from within.

    :param script: a program that runs in the guest, last; ``None`` for none.
    :param packages: that the guest's own package tool installs.
    :param allow: what it may reach for that.
    :param disk: the smallest size of the image's disk, in bytes; ``None`` for that of the source.
    """

    script: Path | None
    packages: tuple[str, ...] = ()
    allow: tuple[DestinationConfig, ...] = ()
    disk: int | None = None

    @property
    def hash(self) -> str:
        """A SHA-256 of what the operator adds."""
        script = b"" if self.script is None else self.script.read_bytes()
        return hashlib.sha256(f"{self.packages}\n".encode() + script).hexdigest()


class Customising(Making):
    """One image that is customised."""

    _wanted: Customised

    def __init__(
        self, wanted: Customised, disk: Source, directory: Path, draft: Path, reporter: Reporter
    ) -> None:
        super().__init__(wanted, disk, directory, draft, reporter)
        self._mark = f"latent-libvirt-import-{secrets.token_hex(8)}"
        self._marks = Marks(self._mark, reporter)
        self._seed = draft / "seed"
        self._way_out = WayOut(wanted.allow, reporter) if wanted.packages else None

    @property
    def _typed(self) -> bytes:
        """What begins the program, typed on the console; empty if cloud-init begins it."""
        return b""

    @property
    def _before(self) -> Manifest:
        """What is known of the image before the guest has listed its packages."""
        raise NotImplementedError

    def _place(self, storage: Path) -> None:
        self._reporter.stage("preparing the disk")
        self._disk.place(storage / SOURCE, link=self._draft / "disk")
        if self._way_out is not None:
            self._sandbox.forward()

    @property
    def _new_size(self) -> int:
        return -(-max(self._wanted.disk or 0, self._disk.virtual_size) // MIB) * MIB

    async def _install(self, host: PrivateHost, storage: Path) -> None:
        self._reporter.stage("booting the disk once")
        installation = Installation(
            host, marks=self._marks, timeout=self._wanted.timeout, typed=self._typed
        )
        plan = host.plan("source", seed=self._seed)
        async with AsyncExitStack() as stack:
            if self._way_out is not None:
                opened = self._way_out.opened(self._sandbox.way_out, host.reactor)
                await stack.enter_async_context(opened)
            try:
                await installation.run(plan, lambda overlay: self._flatten(storage, overlay))
            except GuestError as error:
                raise self._explained(error) from error

    def _explained(self, error: GuestError) -> GuestError:
        return error if self._way_out is None else self._way_out.explained(error)

    def _flatten(self, storage: Path, overlay: str) -> None:
        """Copy what the guest sees to one file, in a thread."""
        self._reporter.stage("copying the result to one file")
        convert = [program("qemu-img", package="qemu-utils"), "convert", "-f", "qcow2"]
        form = ["-O", "qcow2", "-o", "compat=1.1"]
        run([*convert, *form, storage / overlay, storage / RESULT])
        (self._result / MANIFEST).write_text(manifest.serialize(self._manifest()))

    def _manifest(self) -> Manifest:
        fetched = {} if self._way_out is None else self._way_out.fetched()
        if not self._marks.lists_all_packages:
            self._reporter.note("the guest's list of packages came with gaps: see its manifest.txt")
        return {**self._before, **self._marks.packages, **fetched}
