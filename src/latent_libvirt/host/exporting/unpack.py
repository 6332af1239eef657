# SPDX-License-Identifier: GPL-2.0-only
"""Continuing of an exported VM by another libvirt, on this machine.

What is in the file is not trusted: each name is checked, sizes are bounded by the disk, and the XML
goes to libvirt, which runs the VM with the rights of this user. All functions block.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import struct
import subprocess
import tarfile
import unicodedata
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import libvirt
from lxml import etree
from pydantic import TypeAdapter, ValidationError

from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host.exporting import fitness, space
from latent_libvirt.host.exporting.allowed_xml import foreign_parts, parsed_xml
from latent_libvirt.host.exporting.pack import DESCRIPTION, FORMAT, MEMORY, XML, Export
from latent_libvirt.host.exporting.portable_xml import placed_xml, source_files
from latent_libvirt.host.exporting.readme import format_of
from latent_libvirt.host.libvirtd.errand import visiting
from latent_libvirt.images.programs import program
from latent_libvirt.plain_text import display_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from latent_libvirt.host.exporting.pack import Layer

_LARGEST_TEXT: Final = 4 << 20
_LAYER_NAME: Final = re.compile(r"[a-z]{1,12}-[0-9]{1,2}\.(qcow2|raw)")
_NOT_UNPACKED: Final = (DESCRIPTION, "README.md")
_OTHERS: Final = frozenset({"kernel", "initrd", MEMORY, XML, *_NOT_UNPACKED})
_MOST_MEMBERS: Final = 500
_CHUNK: Final = 1 << 20
_PLAIN: Final = "r:"
"""An export is not compressed. What is could have any size."""

_BROKEN: Final = (
    tarfile.TarError,
    KeyError,
    ValueError,
    OverflowError,
    RecursionError,  # tarfile reads headers that extend each other by recursion
    etree.XMLSyntaxError,
)


class Unpacked:
    """An export that is open for reading.

    :raises ConfigurationError: if it is none.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            _see_that_it_is_plain(file)
            with tarfile.open(file, _PLAIN) as tar:
                members = _members(tar, file.stat().st_size)
                self.export = _decoded(_text(tar, members, DESCRIPTION))
                self.xml = _text(tar, members, XML)
            _see_that_all_is_listed(members, self.export.layers)
            self._root = parsed_xml(self.xml)
        except _BROKEN as error:
            raise ConfigurationError(
                f"{display_name(file)} is no export of a VM",
                details=str(error) or repr(error),
                resolution="Name a file that 'latent-libvirt export' has written.",
            ) from None

    @property
    def domain(self) -> str:
        """The name of the domain."""
        return self._root.findtext("name") or ""

    @property
    def missing(self) -> tuple[Layer, ...]:
        """The base images that are not in the export."""
        return tuple(layer for layer in self.export.layers if not layer.is_packed)

    def check(self, connection: libvirt.virConnect) -> None:
        """See that the VM can run there, before anything begins.

        :raises ConfigurationError: if its processor or machine is not to be had, or its name is
            taken.
        """
        self._check_parts()
        self._check_name(connection)
        fitness.check(connection, self._root, host_cpu=self.export.host_cpu)

    def _check_parts(self) -> None:
        foreign = foreign_parts(self.xml, [layer.file for layer in self.export.layers])
        foreign += _wrong_formats(self._root)
        if foreign:
            raise ConfigurationError(
                f"{display_name(self._file)} asks for what no export has",
                details=", ".join(ascii(part)[:200] for part in foreign[:10]),
                resolution="Do not use it, unless you know where it is from.",
            )

    def _check_name(self, connection: libvirt.virConnect) -> None:
        taken = {domain.name() for domain in connection.listAllDomains()}
        if self.domain in taken:
            raise ConfigurationError(
                f"{connection.getURI()} has a domain {self.domain!r} already",
                resolution="End that one: a VM is continued under its own name alone.",
            )

    def place(self, directory: Path, bases: dict[str, Path]) -> str:
        """Unpack into *directory*, an empty one; return the XML of the domain there.

        :param bases: the files of base images that are not in the export, by their digests.
        :raises ConfigurationError: if one is missing, or something is not as it has to be.
        """
        found = {layer.file: self._base(layer, bases) for layer in self.missing}
        directory = directory.absolute()
        self._extract_to(directory)
        based_on = {layer.below for layer in self.export.layers}
        for layer in self.export.layers:
            if layer.is_packed:
                below = found.get(layer.below, directory / layer.below) if layer.below else None
                _base_on(directory / layer.file, below, format_of(layer.below))
            elif layer.file not in based_on:  # the VM itself reads it
                (directory / layer.file).symlink_to(found[layer.file])
        return placed_xml(self.xml, str(directory))

    def _extract_to(self, directory: Path) -> None:
        with tarfile.open(self._file, _PLAIN) as tar:
            members = _members(tar, self._file.stat().st_size)
            unpacked = [each for name, each in members.items() if name not in _NOT_UNPACKED]
            size = sum(each.size for each in unpacked)
            with space.reported(directory, size, space.free_in(directory)):
                for each in unpacked:
                    _extract(tar, each, directory)

    def _base(self, layer: Layer, bases: dict[str, Path]) -> Path:
        if layer.sha256 in bases:
            return bases[layer.sha256].absolute()
        wanted = f"It has {layer.size} bytes and the sha256 {layer.sha256}."
        image = layer.volume or self.export.image
        if not bases:
            raise ConfigurationError(
                f"the base image {image} is not in the export",
                details=wanted,
                resolution="Name its file with --base, or export with --with-base.",
            )
        given = (
            f"{display_name(file)} has {file.stat().st_size} bytes and the sha256 {sha256}."
            for sha256, file in bases.items()
        )
        raise ConfigurationError(
            f"no file of --base is the base image {image} ({layer.file})",
            details="\n".join([wanted, *given]),
            resolution="Name the disk that the host of the VM has, or export with --with-base.",
        )


def _wrong_formats(root: etree._Element) -> list[str]:
    """Return the disks that QEMU would read in another way than was looked at."""
    disks = root.findall("devices/disk")
    pairs = [(disk.find("source"), disk.find("driver")) for disk in disks]
    return [
        f"{source.get('file')} as {None if driver is None else driver.get('type')!r}"
        for source, driver in pairs
        if source is not None
        and (driver is None or driver.get("type") != format_of(str(source.get("file"))))
    ]


def restore(connection: libvirt.virConnect, directory: Path, xml: str) -> None:
    """Let the VM go on from what is in *directory*.

    :raises libvirt.libvirtError: if libvirt or QEMU refuses.
    """
    path = str((directory / MEMORY).absolute())
    connection.restoreFlags(path, xml, libvirt.VIR_DOMAIN_SAVE_RUNNING)


def may_run(uri: str, domain: str, directory: Path) -> bool:
    """Return whether a VM runs from *directory*, or nobody can say."""
    try:
        with visiting(uri) as connection:
            found = (each for each in connection.listAllDomains() if each.name() == domain)
            files = (path for each in found for path in source_files(each.XMLDesc()).values())
            return any(Path(path).parent == directory.absolute() for path in files)
    except HostError:
        return True


@contextmanager
def new_directory(directory: Path, in_use: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Make *directory*, and delete it if what is done with it fails.

    :param in_use: asked then whether it has to stay.
    :raises ConfigurationError: if there is one already, or its name has control characters.
    """
    if any(unicodedata.category(character) in _UNFIT for character in str(directory)):
        raise ConfigurationError(
            f"the name {display_name(directory)} has characters that a libvirt XML cannot have",
            resolution="Rename the file or its directory.",
        )
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        raise ConfigurationError(
            f"{display_name(directory)} is there already",
            resolution="Delete it, unless a VM runs from it.",
        ) from None
    try:
        yield
    except BaseException:
        if not in_use():
            with suppress(OSError):
                shutil.rmtree(directory)
        raise


_UNFIT: Final = ("Cc", "Cs", "Cn")
"""Control characters, bytes that are no UTF-8, and what is no character."""


def digest(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    :raises ConfigurationError: it is no ordinary file.
    """
    _see_that_it_is_plain(file)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _see_that_it_is_plain(file: Path) -> None:
    """Refuse what nobody may ever write to, such as a FIFO.

    :raises ConfigurationError: it is no ordinary file.
    """
    if not stat.S_ISREG(file.stat().st_mode):
        raise ConfigurationError(
            f"{display_name(file)} is no ordinary file",
            resolution="Name the file that 'latent-libvirt export' has written, or the disk.",
        )


def _decoded(text: str) -> Export:
    try:
        export = TypeAdapter(Export).validate_json(text)
    except ValidationError as error:
        raise ValueError(str(error)) from None
    names = [layer.file for layer in export.layers]
    if export.format != FORMAT or not all(map(_LAYER_NAME.fullmatch, names)):
        raise ValueError("it is of another version of latent-libvirt")
    for number, layer in enumerate(export.layers):
        if layer.file in names[:number]:
            raise ValueError(f"it lists {layer.file} twice")
        # A layer comes before those that it is based on, so that there is no circle.
        if layer.below and (
            layer.below not in names[number + 1 :] or format_of(layer.file) == "raw"
        ):
            raise ValueError(f"{layer.file} is based on {layer.below!a}, which it does not list")
    return export


def _members(tar: tarfile.TarFile, size: int) -> dict[str, tarfile.TarInfo]:
    """Return the members of an archive of *size* bytes, by their names.

    :raises ValueError: if one is there twice, or no plain file that is in the archive as a whole.
    """
    members: dict[str, tarfile.TarInfo] = {}
    for member in tar:
        if member.name in members or len(members) == _MOST_MEMBERS:
            raise ValueError(f"it has {member.name!a:.200} twice, or over {_MOST_MEMBERS} members")
        is_plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
        if not is_plain or not 0 <= member.size <= size - member.offset_data:
            raise ValueError(f"{member.name!a:.200} is no plain file, or not there as a whole")
        members[member.name] = member
    return members


def _see_that_all_is_listed(members: dict[str, tarfile.TarInfo], layers: tuple[Layer, ...]) -> None:
    packed = {layer.file for layer in layers if layer.is_packed}
    for name in members.keys() - _OTHERS - packed:
        raise ValueError(f"{DESCRIPTION} does not list its member {name!a:.200}")
    for name in (packed | {MEMORY}) - members.keys():
        raise ValueError(f"it has no {name}")


def _text(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> str:
    if name not in members:
        raise ValueError(f"it has no {name}")
    member = members[name]
    opened = tar.extractfile(member) if member.size <= _LARGEST_TEXT else None
    if opened is None:
        raise ValueError(f"{name} is no text")
    return opened.read().decode()


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, directory: Path) -> None:
    """Write a file, with holes where it has zeros."""
    opened: Any = tar.extractfile(member)
    with (directory / member.name).open("xb") as output:
        (directory / member.name).chmod(0o600)
        for chunk in _chunks(opened):
            if chunk.strip(b"\0"):
                output.write(chunk)
            else:
                output.seek(len(chunk), 1)
        output.truncate(member.size)


def _chunks(opened: Any) -> Iterator[bytes]:
    while chunk := opened.read(_CHUNK):
        yield chunk


def _base_on(disk: Path, below: Path | None, below_format: str) -> None:
    """Let *disk* be based on *below*, and on nothing else of this machine."""
    if format_of(disk.name) == "raw":  # whatever is in it, QEMU takes it for content
        return
    _see_that_it_has_its_data(disk)
    if below is not None:
        based = ("-F", below_format, "-b", str(below))
        _qemu_img("rebase", "-u", "-f", "qcow2", *based, str(disk))
    info = json.loads(_qemu_img("info", "-f", "qcow2", "--output", "json", str(disk)))
    more = info.get("format-specific", {}).get("data", {}).get("data-file")
    if info.get("backing-filename") != (None if below is None else str(below)) or more:
        raise _based_elsewhere(disk)


def _see_that_it_has_its_data(disk: Path) -> None:
    """Refuse a disk whose data is in another file, which qemu-img would open."""
    with disk.open("rb") as opened:
        head = opened.read(_HEAD.size)
    if len(head) < _HEAD.size or not head.startswith(_QCOW2):
        raise ConfigurationError(f"{disk.name} of the export is no qcow2 disk")
    version, features = _HEAD.unpack(head)
    if version > _LAST_WITHOUT_FEATURES and features & _DATA_ELSEWHERE:
        raise _based_elsewhere(disk)


_QCOW2: Final = b"QFI\xfb"
_HEAD: Final = struct.Struct(">4xI64xQ")
"""Of qcow2: its version, and the features that a reader has to know (see its specification)."""
_LAST_WITHOUT_FEATURES: Final = 2
_DATA_ELSEWHERE: Final = 4


def _based_elsewhere(disk: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{disk.name} is based on a file that is not in the export",
        resolution="Do not use it, unless you know where it is from.",
    )


def _qemu_img(*arguments: str) -> str:
    command = [program("qemu-img", package="qemu-utils"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostError(f"qemu-img {arguments[0]} failed", details=done.stderr.strip())
    return done.stdout
