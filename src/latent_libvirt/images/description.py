# SPDX-License-Identifier: GPL-2.0-only
"""Description of a base image: ``image.json``, and the digest that is the image's true name.

The same text lies next to the files of a local image and, as a separate volume, next to those of
a published one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images.architectures import X86_64

FORMAT: Final = 1
DIGEST_DIGITS: Final = 16
"""How much of the digest stands in names of files and volumes."""

NAME_PATTERN: Final = r"[a-z0-9][a-z0-9-]{0,39}"

_SIGNATURE: Final = 16 * 1024
"""Characters of the longest signature, by an RSA key of 16384 bits, with room for another kind."""
_ARMOR: Final = r"^-----BEGIN SSH SIGNATURE-----\n[A-Za-z0-9+/=\n]+-----END SSH SIGNATURE-----\n$"

Firmware = Literal["bios", "uefi"]
"""What boots a disk."""

PartName = Literal["disk", "kernel", "initrd"]
PART_NAMES: Final[tuple[PartName, ...]] = ("disk", "kernel", "initrd")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Part(_Model):
    """One file of an image: its SHA-256 in hexadecimal, and its length in bytes."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]

    def __str__(self) -> str:
        return f"{self.size} bytes with SHA-256 {self.sha256}"


class Parts(_Model):
    """The files of an image: a qcow2 disk, and what is needed to boot it without its BIOS.

    An imported image has no kernel and no initial RAM disk beside its disk: its BIOS boots it.
    """

    disk: Part
    kernel: Part | None = None
    initrd: Part | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.kernel is None) != (self.initrd is None):
            raise ValueError("a kernel and an initial RAM disk belong together")
        return self

    def items(self) -> Iterator[tuple[PartName, Part]]:
        """Yield the name of each part that there is, and the part."""
        for name in PART_NAMES:
            part = getattr(self, name)
            if part is not None:
                yield name, part

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(part.size for _name, part in self.items())


class Description(_Model):
    """All that is known of an image.

    :param digest: :func:`digest_of` its content; equal digests mean equal content.
    :param created: when it was built; not part of the digest.
    :param virtual_size: bytes of the disk as the guest sees it.
    :param command_line: the kernel's, for booting without the BIOS; empty without a kernel.
    :param chosen: when a rollback chose it; not part of the digest. ``None`` for never.
    :param signature: an ssh signature of the name and the digest (``signing.py``).
    :param launcher: first 12 hexadecimal digits of the SHA-256 of the launcher inside.
    :param recipe: SHA-256 of the recipe that it was built from, or of what it was imported from.
    :param architecture: of the VMs that it is for, as `uname -m` names it there. Text without it is
        of x86_64, which was the only one.
    :param firmware: ``uefi`` if no BIOS boots the disk. Text without it is of a disk that one does,
        or of an architecture that has none.
    """

    format: Literal[1] = FORMAT
    name: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
    digest: Sha256
    created: Annotated[AwareDatetime, Field(strict=False)]
    chosen: Annotated[AwareDatetime | None, Field(strict=False)] = None
    signature: Annotated[str | None, Field(max_length=_SIGNATURE, pattern=_ARMOR)] = None
    virtual_size: Annotated[int, Field(gt=0)]
    command_line: Annotated[str, Field(pattern=r"^[ -~]*$")]
    parts: Parts
    launcher: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    recipe: Sha256
    architecture: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,32}$")] = X86_64
    firmware: Firmware = "bios"

    @model_validator(mode="after")
    def _command_line_of_a_kernel(self) -> Self:
        if (self.parts.kernel is None) != (self.command_line == ""):
            raise ValueError("a kernel and its command line belong together")
        return self

    def part(self, name: PartName) -> Part:
        """Return one of the parts."""
        return dict(self.parts.items())[name]

    @property
    def since(self) -> datetime:
        """When it was built, or chosen by a rollback: VMs take the image where that was last."""
        return self.chosen or self.created

    @property
    def short_digest(self) -> str:
        """The digits of the digest that names of files and volumes carry."""
        return self.digest[:DIGEST_DIGITS]

    def to_json(self) -> str:
        """Return the text of ``image.json``."""
        # An image that no rollback has chosen, and nobody signed, is described as ever. So masters
        # of older versions, which know no other keys, can use it.
        left_out = {key for key in ("chosen", "signature") if getattr(self, key) is None}
        left_out |= {"architecture"} if self.architecture == X86_64 else set()
        left_out |= {"firmware"} if self.firmware == "bios" else set()
        values = self.model_dump(mode="json", exclude=left_out)
        return json.dumps(values, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str) -> Self:
        """Read ``image.json``, which may have been written by anybody.

        :param source: where the text is from, for the error's message.
        :raises ConfigurationError: it does not describe an image, or contradicts itself.
        """
        try:
            description = cls.model_validate_json(text)
        except ValidationError as error:
            raise _no_description(source, str(error)) from error
        if description.digest != digest_of(description.parts, description.command_line):
            raise _no_description(source, "the digest is not that of the parts")
        return description


def digest_of(parts: Parts, command_line: str) -> str:
    """Return the SHA-256 of everything that decides what boots: the parts and the command line."""
    content = {name: part.sha256 for name, part in parts.items()} | {"command_line": command_line}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _no_description(source: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{source} does not describe an image",
        details=why,
        resolution="Build or publish the image again.",
    )
