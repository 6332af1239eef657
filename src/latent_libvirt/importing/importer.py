# SPDX-License-Identifier: GPL-2.0-only
"""Images that are made of a disk: by an import, which installs the launcher, or as the disk is.

All that is made on the way is in the draft of the image's workspace, and in a private libvirtd that
ends with this process. The draft of a process that was killed goes with the next image of the name.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react

from latent_libvirt.config.units import MIB
from latent_libvirt.deferreds import cancelled_at_shutdown
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import manifest, payload, recipes, source, workspace
from latent_libvirt.images.description import Description, Parts, digest_of
from latent_libvirt.images.local import FILES, MANIFEST, local_images, measure
from latent_libvirt.images.programs import program, require, run
from latent_libvirt.images.seed import write_seed
from latent_libvirt.importing import contract
from latent_libvirt.importing.installation import Installation
from latent_libvirt.importing.marks import Marks
from latent_libvirt.importing.private_host import (
    RESULT,
    SOURCE,
    STORAGE_POOL,
    Machine,
    PrivateHost,
)
from latent_libvirt.sandbox import PrivateLibvirtd

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from latent_libvirt.images.local import LocalImage
    from latent_libvirt.images.progress import Reporter
    from latent_libvirt.images.source import Source

_CACHE: Final = ".import"
_NEEDED: Final = {
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "libvirtd": "libvirt-daemon",
    "unshare": "util-linux",
}


@dataclass(frozen=True)
class Wanted:
    """What image is to be made of which disk, and in what VM.

    :param vcpus: of the VMs; memory is bytes.
    :param timeout: seconds for an installation, and again for the first start of the image.
    :param again: whether there may be images of that name.
    """

    file: Path
    name: str
    vcpus: int
    memory: int
    accelerator: str
    timeout: float
    again: bool = False


@dataclass(frozen=True, kw_only=True)
class Import(Wanted):
    """What is to be imported, and how.

    :param script: a program that runs in the guest, last; ``None`` for none.
    :param disk: the smallest size of the image's disk, in bytes.
    """

    script: Path | None
    disk: int


def import_image(wanted: Import, output: Path, reporter: Reporter) -> LocalImage:
    """Return a new image below *output*. Runs the reactor, which can be done once in a process.

    :raises ConfigurationError: the file cannot become an image, or the name is taken.
    :raises GuestError: the installation in the guest fails, or the result is no image.
    """
    return _make(_Import, wanted, output, reporter)


def adopt(wanted: Wanted, output: Path, reporter: Reporter) -> LocalImage:
    """Return a new image below *output*. Runs the reactor, which can be done once in a process.

    :raises ConfigurationError: the file cannot be an image, or the name is taken.
    :raises GuestError: a VM of it does not do what the image contract says.
    """
    return _make(_Adoption, wanted, output, reporter)


def _make(making: type[_Making], wanted: Wanted, output: Path, reporter: Reporter) -> LocalImage:
    """Return a new image below *output*. Runs the reactor, which can be done once in a process.

    :raises ConfigurationError: the file cannot become an image, or the name is taken.
    :raises GuestError: the result is no image.
    """
    require(_NEEDED)
    _refuse_taken(wanted, output)
    disk = source.examine(wanted.file)
    directory = output.absolute() / wanted.name
    directory.mkdir(parents=True, exist_ok=True)
    with workspace.locked(directory, reporter), workspace.draft(directory) as draft:
        _refuse_taken(wanted, output)  # another one may have been under way
        return making(wanted, disk, directory, draft, reporter).run()


def _refuse_taken(wanted: Wanted, output: Path) -> None:
    name = wanted.name
    if name in recipes.names():
        raise ConfigurationError(
            f"{name!r} is the name of a recipe",
            details="VMs take the newest image of a name, and would get the one or the other.",
            resolution="Choose another --name.",
        )
    if not wanted.again and (there := local_images(output, name)):
        raise ConfigurationError(
            f"there is an image {name!r} already, {there[0].description.short_digest}",
            details=f"It is in {there[0].directory}.",
            resolution="Choose another --name. Or add --again: then both stay, and VMs take the "
            "one that was published last.",
        )


class _Making:
    """One image in the making. Subclasses say how its disk comes to be.

    :param disk: the examined file.
    :param directory: of the images of that name.
    :param draft: a directory for this image alone.
    """

    def __init__(
        self, wanted: Wanted, disk: Source, directory: Path, draft: Path, reporter: Reporter
    ) -> None:
        self._wanted = wanted
        self._disk = disk
        self._directory = directory
        self._draft = draft
        self._reporter = reporter
        self._cache = directory.parent / _CACHE
        self._result = draft / "result"
        self._launcher = ""

    def run(self) -> LocalImage:
        """Return the image.

        :raises LatentLibvirtError: it cannot be made, and why.
        """
        self._prepare()
        private = PrivateLibvirtd(
            self._draft / "libvirtd", capability_cache=self._cache / "libvirt", isolated=True
        )
        self._result.mkdir()
        with private:
            private.define_storage_pool(STORAGE_POOL)
            storage = private.directory / "storage" / STORAGE_POOL
            self._place(storage)
            _in_reactor(partial(self._in_guests, private.uri, storage))
            (storage / RESULT).rename(self._result / FILES["disk"])
        self._reporter.stage("working out the digest")
        return workspace.place(self._result, self._directory, self._describe())

    def _prepare(self) -> None:
        """Make what is needed besides the disk, before any server runs."""

    def _place(self, storage: Path) -> None:
        """Place the disk in the directory *storage*, as the source or as the result."""
        raise NotImplementedError

    async def _install(self, host: PrivateHost, storage: Path) -> None:
        """Make the result of the source, where that takes a VM."""

    @property
    def _new_size(self) -> int | None:
        """Bytes that the disk is to have as a guest sees it; ``None`` if they stay as they are."""
        return None

    @property
    def _made_of(self) -> str:
        """Name what decides the content, by hashes."""
        return measure(self._disk.path).sha256

    async def _in_guests(self, uri: str, storage: Path, reactor: Any) -> None:
        wanted = self._wanted
        machine = Machine(wanted.vcpus, wanted.memory, self._new_size, wanted.accelerator)
        host = PrivateHost(machine.configuration(uri), reactor=reactor)
        async with host.connected():
            await self._install(host, storage)
            await host.look_for_volumes()
            self._launcher = await contract.check(
                host, timeout=wanted.timeout, reporter=self._reporter
            )

    def _describe(self) -> Description:
        parts = Parts(disk=measure(self._result / FILES["disk"]))
        return Description(
            name=self._wanted.name,
            digest=digest_of(parts, ""),
            created=datetime.now(UTC).replace(microsecond=0),
            virtual_size=self._new_size or self._disk.virtual_size,
            command_line="",
            parts=parts,
            launcher=self._launcher,
            recipe=hashlib.sha256(self._made_of.encode()).hexdigest(),
        )


class _Import(_Making):
    """One import."""

    _wanted: Import

    def __init__(
        self, wanted: Import, disk: Source, directory: Path, draft: Path, reporter: Reporter
    ) -> None:
        super().__init__(wanted, disk, directory, draft, reporter)
        self._mark = f"latent-libvirt-import-{secrets.token_hex(8)}"
        self._seed = draft / "seed.iso"
        self._payload = ""

    def _prepare(self) -> None:
        self._reporter.stage("bringing what the guest gets")
        archive = self._draft / "payload.tar"
        cache = self._cache / "wheels"
        self._payload = payload.write_payload(archive, cache=cache, script=self._wanted.script)
        write_seed(self._seed, archive, mark=self._mark)
        archive.unlink()

    def _place(self, storage: Path) -> None:
        self._reporter.stage("preparing the disk")
        self._disk.place(storage / SOURCE)

    @property
    def _new_size(self) -> int:
        return -(-max(self._wanted.disk, self._disk.virtual_size) // MIB) * MIB

    @property
    def _made_of(self) -> str:
        return f"{super()._made_of} {self._payload}"

    async def _install(self, host: PrivateHost, storage: Path) -> None:
        self._reporter.stage("booting the disk once")
        installation = Installation(
            host, marks=Marks(self._mark, self._reporter), timeout=self._wanted.timeout
        )
        plan = host.plan("source", seed=self._seed)
        await installation.run(plan, lambda overlay: self._flatten(storage, overlay))

    def _flatten(self, storage: Path, overlay: str) -> None:
        """Copy what the guest sees to one file, in a thread."""
        self._reporter.stage("copying the result to one file")
        convert = [program("qemu-img", package="qemu-utils"), "convert", "-f", "qcow2"]
        form = ["-O", "qcow2", "-o", "compat=1.1"]
        run([*convert, *form, storage / overlay, storage / RESULT])
        pinned = manifest.from_system("", payload.requirements().read_text())
        (self._result / MANIFEST).write_text(manifest.serialize(pinned))


class _Adoption(_Making):
    """One adoption."""

    def _place(self, storage: Path) -> None:
        self._reporter.stage("copying the disk to one qcow2 file")
        self._disk.copy(storage / RESULT)


def _in_reactor(work: Callable[[Any], Any]) -> None:
    """Run a coroutine to its end; Ctrl-C cancels it, and waits until it has cleaned up.

    :raises KeyboardInterrupt: it was cancelled.
    """
    failures: list[Failure] = []

    def note(failure: Failure) -> None:
        failures.append(failure)

    def begin(reactor: Any) -> Deferred[Any]:
        working: Deferred[Any] = Deferred.fromCoroutine(work(reactor))
        cancelled_at_shutdown(working, reactor)
        return working.addErrback(note)

    try:
        react(begin)
    except SystemExit:  # which is how react ends
        for failure in failures:
            if isinstance(failure.value, CancelledError):
                raise KeyboardInterrupt from None
            failure.raiseException()
