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
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import libvirt
from lxml import etree
from pydantic import TypeAdapter, ValidationError

from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host.exporting import fitness
from latent_libvirt.host.exporting.pack import DESCRIPTION, FORMAT, MEMORY, XML, Export
from latent_libvirt.host.exporting.portable_xml import foreign_parts, placed_xml
from latent_libvirt.images.programs import program
from latent_libvirt.plain_text import display_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from latent_libvirt.host.exporting.pack import Layer

_LARGEST_TEXT: Final = 4 << 20
_NAME: Final = re.compile(r"[a-z]{1,12}(-[0-9]{1,2}\.qcow2)?|memory\.state|domain\.xml")
_CHUNK: Final = 1 << 20
_PLAIN: Final = "r:"
"""An export is not compressed. What is could have any size."""


class Unpacked:
    """An export that is open for reading.

    :raises ConfigurationError: if it is none.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            _see_that_it_is_plain(file)
            with tarfile.open(file, _PLAIN) as tar:
                self.export = _decoded(_text(tar, DESCRIPTION))
                self.xml = _text(tar, XML)
            self._root = etree.fromstring(self.xml)
        except (tarfile.TarError, KeyError, ValueError, etree.XMLSyntaxError) as error:
            raise ConfigurationError(
                f"{display_name(file)} is no export of a VM", details=str(error) or repr(error)
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
        foreign = foreign_parts(self.xml)
        if foreign:
            raise ConfigurationError(
                f"{self._file} asks for what no export has",
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
        """Unpack into *directory*, a new one; return the XML of the domain there.

        :param bases: the files of base images that are not in the export, by their digests.
        :raises ConfigurationError: if one is missing, or something is not as it has to be.
        """
        found = {layer.file: self._base(layer, bases) for layer in self.missing}
        directory.mkdir(mode=0o700)
        with tarfile.open(self._file, _PLAIN) as tar:
            for member in tar:
                if member.isreg() and _NAME.fullmatch(member.name):
                    _extract(tar, member, directory)
        for layer in self.export.layers:
            if layer.is_packed:
                inside = directory.absolute() / layer.below
                below = found.get(layer.below, inside) if layer.below else None
                _base_on(directory / layer.file, below)
        return placed_xml(self.xml, str(directory.absolute()))

    def _base(self, layer: Layer, bases: dict[str, Path]) -> Path:
        if layer.sha256 not in bases:
            raise ConfigurationError(
                f"the base image {self.export.image} is not in the export",
                details=f"It has {layer.size} bytes and the sha256 {layer.sha256}.",
                resolution="Name its file with --base, or export with --with-base.",
            )
        return bases[layer.sha256].absolute()


def restore(connection: libvirt.virConnect, directory: Path, xml: str) -> None:
    """Let the VM go on from what is in *directory*.

    :raises libvirt.libvirtError: if libvirt or QEMU refuses.
    """
    path = str((directory / MEMORY).absolute())
    connection.restoreFlags(path, xml, libvirt.VIR_DOMAIN_SAVE_RUNNING)


def delete(directory: Path) -> None:
    """Delete what was unpacked, without another error."""
    with suppress(OSError):
        shutil.rmtree(directory)


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
            resolution="Name the file that `latent-libvirt export` has written, or the disk.",
        )


def _decoded(text: str) -> Export:
    try:
        export = TypeAdapter(Export).validate_json(text)
    except ValidationError as error:
        raise ValueError(str(error)) from None
    names = [name for layer in export.layers for name in (layer.file, layer.below) if name]
    if export.format != FORMAT or not all(map(_NAME.fullmatch, names)):
        raise ValueError("it is of another version of latent-libvirt")
    return export


def _text(tar: tarfile.TarFile, name: str) -> str:
    member = tar.getmember(name)
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


def _base_on(disk: Path, below: Path | None) -> None:
    """Let *disk* be based on *below*, and on nothing else of this machine."""
    if below is not None:
        _qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", str(below), str(disk))
    info = json.loads(_qemu_img("info", "-f", "qcow2", "--output", "json", str(disk)))
    more = info.get("format-specific", {}).get("data", {}).get("data-file")
    if info.get("backing-filename") != (None if below is None else str(below)) or more:
        raise ConfigurationError(
            f"{disk.name} is based on a file that is not in the export",
            resolution="Do not use it, unless you know where it is from.",
        )


def _qemu_img(*arguments: str) -> str:
    command = [program("qemu-img", package="qemu-utils"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostError(f"qemu-img {arguments[0]} failed", details=done.stderr.strip())
    return done.stdout
