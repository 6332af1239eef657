# SPDX-License-Identifier: GPL-2.0-only
"""Making of an image of a disk: what imports, derivations and adoptions share.

All that is made on the way is in the draft of the image's workspace, and in a private libvirtd that
ends with this process. The draft of a process that was killed goes with the next image of the name.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from latent_libvirt.deferreds import cancelled_at_shutdown
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import recipes, source, workspace
from latent_libvirt.images.description import Description, Parts, digest_of
from latent_libvirt.images.local import FILES, local_images, measure
from latent_libvirt.images.programs import BuildError, require
from latent_libvirt.importing import contract
from latent_libvirt.importing.volumes import RESULT, STORAGE_POOL
from latent_libvirt.process.interrupts import ReactorStop
from latent_libvirt.sandbox import PrivateLibvirtd

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from latent_libvirt.images.description import Firmware, Part
    from latent_libvirt.images.local import LocalImage
    from latent_libvirt.images.progress import Reporter
    from latent_libvirt.images.source import Source
    from latent_libvirt.importing.private_host import PrivateHost

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
    :param firmware: what boots the disk; ``None`` for what its partitions are made for.
    """

    file: Path
    name: str
    vcpus: int
    memory: int
    accelerator: str
    timeout: float
    again: bool = False
    firmware: Firmware | None = None


OpenHost = Callable[[Wanted, int | None, str, Any], "PrivateHost"]
"""Returns the host of an image in the making: for its disk's new size, libvirt's URI, a reactor."""


def make(
    making: type[Making], wanted: Wanted, output: Path, reporter: Reporter, *, open_host: OpenHost
) -> LocalImage:
    """Return a new image below *output*. Runs the reactor, which can be done once in a process.

    :param making: the kind of image.
    :raises ConfigurationError: the file cannot become an image, or the name is taken.
    :raises GuestError: the result is no image.
    """
    require(_NEEDED)
    refuse_taken(wanted, output)
    disk = source.examine(wanted.file, wanted.firmware)
    wanted = replace(wanted, firmware=disk.firmware)
    directory = output.absolute() / wanted.name
    with workspace.locked(directory, reporter), workspace.draft(directory) as draft:
        refuse_taken(wanted, output)  # another one may have been under way
        with naming_full_disk(output):
            return making(wanted, disk, directory, draft, reporter).run(open_host)


@contextmanager
def naming_full_disk(output: Path) -> Iterator[None]:
    """Name the disk, if a program fails in a ``with`` block because it is full.

    :raises ConfigurationError: it is.
    """
    try:
        yield
    except BuildError as error:
        if os.strerror(errno.ENOSPC) not in (error.details or ""):
            raise
        raise ConfigurationError(
            f"the disk with {output} is full",
            details=error.details,
            resolution="An import needs room for two copies of what is on the image's disk. Free "
            "some, or name another directory with --output.",
        ) from error


def refuse_taken(wanted: Wanted, output: Path) -> None:
    """Refuse a name that another image has, or a recipe.

    :raises ConfigurationError: there is one.
    """
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


class Making:
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
        self._disk_part: Part | None = None
        self._sandbox = PrivateLibvirtd(
            draft / "libvirtd", capability_cache=self._cache / "libvirt", isolated=True
        )

    def run(self, open_host: OpenHost) -> LocalImage:
        """Return the image.

        :raises LatentLibvirtError: it cannot be made, and why.
        """
        self._prepare()
        self._result.mkdir()
        with self._disk.unchanged(), self._sandbox as sandbox:
            sandbox.define_storage_pool(STORAGE_POOL)
            storage = sandbox.directory / "storage" / STORAGE_POOL
            self._place(storage)
            host = partial(open_host, self._wanted, self._new_size, sandbox.uri)
            _in_reactor(partial(self._in_guests, host, storage))
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
        return self._disk_hash

    @cached_property
    def _disk_hash(self) -> str:
        return measure(self._disk.path).sha256

    async def _in_guests(
        self, open_host: Callable[[Any], PrivateHost], storage: Path, reactor: Any
    ) -> None:
        host = open_host(reactor)
        # Files are hashed while guests run, so that nobody waits for it.
        async with host.connected(), _in_thread(self._hash_source):
            await self._install(host, storage)
            await host.look_for_volumes()
            async with _in_thread(partial(self._hash_result, storage / RESULT)):
                await self._check(host)

    async def _check(self, host: PrivateHost) -> None:
        timeout = self._wanted.timeout
        self._launcher = await contract.check(host, timeout=timeout, reporter=self._reporter)

    def _hash_source(self) -> None:
        """Hash what the image is made of. Blocks."""
        _ = self._disk_hash

    def _hash_result(self, path: Path) -> None:
        """Hash the result, which is done, and which the VMs of the check only read. Blocks."""
        self._disk_part = measure(path)

    @property
    def _command_line(self) -> str:
        """The kernel's command line, where the result has a kernel beside its disk."""
        return ""

    def _describe(self) -> Description:
        files = {name: self._result / file for name, file in FILES.items()}
        others = {name: file for name, file in files.items() if file.exists() and name != "disk"}
        measured = {name: measure(file) for name, file in others.items()}
        parts = Parts.model_validate({"disk": self._disk_part, **measured})
        return Description(
            name=self._wanted.name,
            digest=digest_of(parts, self._command_line),
            created=datetime.now(UTC).replace(microsecond=0),
            virtual_size=self._new_size or self._disk.virtual_size,
            command_line=self._command_line,
            parts=parts,
            launcher=self._launcher,
            recipe=hashlib.sha256(self._made_of.encode()).hexdigest(),
            firmware=self._disk.firmware,
        )


@asynccontextmanager
async def _in_thread(work: Callable[[], None]) -> AsyncIterator[None]:
    """Do *work* in a thread during an ``async with`` block, which ends when both have."""
    working: Deferred[None] = deferToThread(work)
    try:
        yield
    except BaseException:
        working.addErrback(_forget)
        raise
    await working


def _forget(_failure: Failure) -> None:
    """Say nothing of it: the block has failed."""


def _in_reactor(work: Callable[[Any], Any]) -> None:
    """Run a coroutine to its end; a signal cancels it, and waits until it has cleaned up.

    :raises KeyboardInterrupt: it was cancelled.
    """
    failures: list[Failure] = []
    stop = ReactorStop()

    def note(failure: Failure) -> None:
        failures.append(failure)

    def begin(reactor: Any) -> Deferred[Any]:
        working: Deferred[Any] = Deferred.fromCoroutine(work(reactor))
        cancelled_at_shutdown(working, reactor)
        stop.of(reactor)
        return working.addErrback(note)

    try:
        with stop:
            react(begin)
    except SystemExit:  # which is how react ends
        for failure in failures:
            if isinstance(failure.value, CancelledError):
                raise stop.interrupt from None
            failure.raiseException()
