# SPDX-License-Identifier: GPL-2.0-only
"""Source of an import: a file with a disk of another maker, looked at before it is used.

``qemu-img`` reads the formats. What it reads may be written by anybody, so it opens no other file
than the one that was named. What cannot become an image is refused here, and the error says why.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from latent_libvirt.advice import command, listed
from latent_libvirt.errors import ConfigurationError, LatentLibvirtError
from latent_libvirt.images import partitions
from latent_libvirt.images.programs import BuildError, output_of, program, run
from latent_libvirt.plain_text import display_name

if TYPE_CHECKING:
    from latent_libvirt.images.description import Firmware

_READ_AS_IS: Final = ("qcow2", "raw")
"""Formats that QEMU reads below an overlay; the others are converted first."""

_CONVERTED: Final = ("qed", "vdi", "vhdx", "vmdk", "vpc")
_PACKED: Final = {
    b"\xfd7zXZ\0": ("xz", "xz --decompress --keep"),
    b"\x1f\x8b": ("gzip", "gunzip --keep"),
    b"BZh": ("bzip2", "bunzip2 --keep"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd --decompress"),
    b"PK\3\4": ("zip", "unzip"),
}
_ISO_AT: Final = 0x8001
_ISO: Final = b"CD001"
_TAR_AT: Final = 257
_TAR: Final = b"ustar"
_BEGINNING: Final = 0x9000
_LOOKED_AT: Final = 2 * 1024 * 1024
"""Bytes of the disk that are read for its boot loader and its partitions."""

_LUKS: Final = b"LUKS\xba\xbe"
_TIB: Final = 1024**4
_LARGEST: Final = 64 * _TIB
"""Bytes of the largest disk that a label can have."""

_NO_FILE: Final = "is no regular file"
_AGAIN: Final = "Download it again, and compare its checksum with that of its maker."


@dataclass(frozen=True)
class Source:
    """A disk that may be imported.

    :param path: absolute.
    :param format: as QEMU calls it.
    :param virtual_size: bytes of the disk as a guest sees it.
    :param firmware: what boots it.
    """

    path: Path
    format: str
    virtual_size: int
    firmware: Firmware = "bios"

    @property
    def is_read_as_is(self) -> bool:
        """Whether an overlay can lie on it without a conversion."""
        return self.format in _READ_AS_IS

    def place(self, target: Path, *, link: Path) -> None:
        """Make *target* a qcow2 with the disk's content, without a copy where that is possible.

        :param link: becomes a link to the file, whose own name libvirt may not be able to say.
        :raises ConfigurationError: the file cannot be read to its end.
        """
        if self.is_read_as_is:
            link.symlink_to(self.path)
            self._run("create", "-q", "-f", "qcow2", "-F", self.format, "-b", link, target)
        else:
            self.copy(target)

    def copy(self, target: Path) -> None:
        """Make *target* a qcow2 with all of the disk's content, which needs no other file.

        :raises ConfigurationError: the file cannot be read to its end.
        """
        form = ("-f", self.format, "-O", "qcow2", "-o", "compat=1.1")
        self._run("convert", *form, self.path, target)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """See that nobody writes the file during a ``with`` block.

        :raises ConfigurationError: somebody has written it, or has replaced or deleted it.
        """
        before = _stamp(self.path)
        try:
            yield
        except LatentLibvirtError:
            self._refuse_written(before)
            raise
        self._refuse_written(before)

    def _refuse_written(self, before: tuple[int, ...]) -> None:
        if _stamp(self.path) != before:
            what = "was written, or replaced, while an image was made of it"
            wait = "Wait until nothing writes there, and repeat the command."
            raise _refused(self.path, what, "", wait)

    def _run(self, *arguments: str | Path) -> None:
        try:
            run([program("qemu-img", package="qemu-utils"), *arguments])
        except BuildError as error:
            raise _refused(self.path, "cannot be read", error.details or "", _AGAIN) from error


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when *path* is written or replaced; nothing if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def examine(path: Path, firmware: Firmware | None = None) -> Source:
    """Return what is in the file *path*.

    :param firmware: what is to boot it; ``None`` for what its partitions are made for.
    :raises ConfigurationError: it cannot become an image, and why.
    """
    _refuse_what_is_no_file(path)
    _refuse_packed(path)
    path = path.resolve()
    information = _information(path)
    _refuse_more_than_one_file(path, information)
    found = Source(path, str(information["format"]), int(information["virtual-size"]))
    if found.virtual_size > _LARGEST:
        what = f"is a disk of {found.virtual_size / _TIB:.0f} TiB"
        raise _refused(path, what, "VMs can have at most 64 TiB.", "Take a smaller disk.")
    _refuse_damaged(found)
    beginning = _beginning_of_disk(found)
    found = replace(found, firmware=firmware or partitions.firmware(beginning))
    _refuse_unbootable(found, beginning)
    return found


def _refuse_what_is_no_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        what = error.strerror or str(error)
        raise _refused(path, f"cannot be read: {what}", "", "Name the file of a disk.") from None
    if stat.S_ISDIR(mode):
        raise _refused(path, "is a directory", "", "Name the file of a disk.")
    if stat.S_ISBLK(mode):
        copy = command("qemu-img", "convert", "-O", "qcow2", str(path), "FILE")
        raise _refused(path, _NO_FILE, "It is a block device.", f"Copy it to one: {copy}")
    if not stat.S_ISREG(mode):
        raise _refused(path, _NO_FILE, "", "Name the file of a disk.")
    if not os.access(path, os.R_OK):
        raise _refused(path, "cannot be read: Permission denied", "", "Make it readable for you.")


def _refuse_packed(path: Path) -> None:
    beginning = _beginning_of_file(path)
    if not beginning:
        raise _refused(path, "is empty", "", _AGAIN)
    if beginning.startswith(_LUKS):  # of version 2, which QEMU takes for a raw disk
        raise _refused(path, "is encrypted", "", "Take a disk that is not encrypted.")
    for magic, (what, how) in _PACKED.items():
        if beginning.startswith(magic):
            unpack = f"Unpack it: {command(*how.split(), str(path))}"
            raise _refused(path, f"is packed with {what}", "", unpack)
    if beginning[_TAR_AT:].startswith(_TAR):
        unpack = f"Unpack it, and import the disk in it: {command('tar', '-xf', str(path))}"
        raise _refused(path, "is a tar archive", "", unpack)
    if beginning[_ISO_AT:].startswith(_ISO):
        raise _refused(
            path,
            "is an ISO image",
            "That is a CD-ROM. An import needs the disk of an installed system.",
            "Take the distribution's cloud image: a qcow2 called 'cloud', 'generic' or 'server'.",
        )


def _beginning_of_file(path: Path) -> bytes:
    """Return the first bytes of a file. Those of the kernel, as in /proc, are no regular files."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}" if size else _NO_FILE
        raise _refused(path, what, "", "Name the file of a disk.") from None
    if beginning and not size:
        raise _refused(path, _NO_FILE, "", "Name the file of a disk.")
    return beginning


def _information(path: Path) -> Mapping[str, Any]:
    """Return what ``qemu-img info`` says; it opens the backing file of no disk."""
    qemu_img = program("qemu-img", package="qemu-utils")
    command = [qemu_img, "info", "--output=json", str(path)]
    try:
        found: dict[str, Any] = json.loads(output_of(command))
    except BuildError as error:
        raise _refused(path, "is damaged, or no disk", error.details or "", _AGAIN) from error
    if found.get("encrypted") or found["format"] == "luks":
        raise _refused(path, "is encrypted", "", _decrypt(path, found["format"]))
    if found["format"] not in (*_READ_AS_IS, *_CONVERTED):
        known = ", ".join((*_READ_AS_IS, *_CONVERTED))
        raise _refused(
            path, f"has the format {found['format']}", f"Formats: {known}.", _convert(path)
        )
    return found


def _refuse_more_than_one_file(path: Path, information: Mapping[str, Any]) -> None:
    others = _other_files(path, information)
    if not others:
        return
    what = f"{_kind(information)}: {', '.join(display_name(other) for other in others)}"
    if all(_is_beside(path, other) for other in others):
        raise _refused(path, what, "Its content is in more than one file.", _convert(path))
    raise _refused(path, what, _DANGER, "Get the disk as one file from its maker.")


_DANGER: Final = (
    "The maker of the disk has chosen that name, and it is not that of a file beside the disk. A "
    "conversion would copy the content of that file on this machine, such as passwords or keys, "
    "into the image."
)
_LONGEST_CHAIN: Final = 16


def _kind(information: Mapping[str, Any]) -> str:
    if information.get("backing-filename") is not None:
        return "has a backing file"
    if _specific(information).get("data-file") is not None:
        return "has an external data file"
    return "has its content in other files"


def _specific(information: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = information.get("format-specific", {}).get("data", {})
    return found


def _other_files(path: Path, information: Mapping[str, Any]) -> list[str]:
    """Return the names of other files that QEMU would read for the disk, as the disk has them."""
    specific = _specific(information)
    named = [information.get("backing-filename"), specific.get("data-file")]
    parts = [str(part.get("filename")) for part in specific.get("extents", ())]
    return [
        *(str(name) for name in named if name is not None),
        *(part for part in parts if path.parent / part != path),
    ]


def _is_beside(path: Path, name: str, depth: int = _LONGEST_CHAIN) -> bool:
    """Whether a disk's other file lies openly beside the disk, and so do those that it has."""
    if _PROTOCOL.match(name) or depth == 0:
        return False
    other = (path.parent / name).resolve()
    if other.parent != path.parent or other.name.startswith("."):
        return False
    if not other.is_file():
        return not other.exists()
    qemu_img = program("qemu-img", package="qemu-utils")
    try:
        information = json.loads(output_of([qemu_img, "info", "--output=json", str(other)]))
    except BuildError:
        return False
    return all(_is_beside(other, each, depth - 1) for each in _other_files(other, information))


_PROTOCOL: Final = re.compile("[^/]*:")
"""QEMU takes what has a colon before the first slash for a protocol, such as nbd: or json:."""


def _decrypt(path: Path, form: str) -> str:
    """Return the command that makes a disk of an encrypted one, which needs its passphrase."""
    file = str(path).replace(",", ",,")
    key = "key-secret=key" if form == "luks" else "encrypt.key-secret=key"
    options = f"driver={form},file.filename={file},{key}"
    secret = ("--object", "secret,id=key,file=PASSPHRASE")
    convert = command("qemu-img", "convert", *secret, "--image-opts", options, "-O", "qcow2")
    return f"Decrypt it, with its passphrase in the file PASSPHRASE: {convert} FILE"


def _refuse_damaged(source: Source) -> None:
    if source.format != "qcow2":
        return
    qemu_img = program("qemu-img", package="qemu-utils")
    try:
        run([qemu_img, "check", "-q", "-f", source.format, source.path])
    except BuildError as error:
        lines = "\n".join((error.details or "").splitlines()[:5])
        raise _refused(source.path, "is damaged or truncated", lines, _AGAIN) from error


def _refuse_unbootable(source: Source, beginning: bytes) -> None:
    size, firmware = source.virtual_size, source.firmware
    defect = partitions.defect(beginning, size=size, firmware=firmware)
    if defect is not None:
        raise _refused(source.path, defect.what, defect.why, defect.remedy)


def _beginning_of_disk(source: Source) -> bytes:
    qemu_img = program("qemu-img", package="qemu-utils")
    with tempfile.TemporaryDirectory(prefix="latent-libvirt-") as directory:
        target = Path(directory, "beginning")
        blocks = [f"if={source.path}", f"of={target}", "bs=65536", f"count={_LOOKED_AT // 65536}"]
        try:
            run([qemu_img, "dd", "-f", source.format, "-O", "raw", *blocks])
        except BuildError as error:
            raise _refused(source.path, "cannot be read", error.details or "", _AGAIN) from error
        return target.read_bytes()


def _convert(path: Path) -> str:
    name = display_name(path) if not str(path).isprintable() else str(path)
    return "Make one file of it:" + listed(
        command("qemu-img", "convert", "-O", "qcow2", name, "FILE")
    )


def _refused(path: Path, what: str, why: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(
        f"{display_name(path)} {what}", details=why or None, resolution=remedy
    )
