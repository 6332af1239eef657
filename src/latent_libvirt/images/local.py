# SPDX-License-Identifier: GPL-2.0-only
"""Images in a local directory: what ``image build`` leaves there, found again and checked.

The layout is ``OUTPUT/NAME/DIGEST/`` with one file per part, ``image.json`` and ``manifest.txt``.
A directory of that name appears only once it is complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt import advice
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import stamps
from latent_libvirt.images.description import DIGEST_DIGITS, Description, Part

if TYPE_CHECKING:
    from latent_libvirt.images.description import PartName

DESCRIPTION: Final = "image.json"
MANIFEST: Final = "manifest.txt"
FILES: Final[dict[PartName, str]] = {
    "disk": "disk.qcow2",
    "kernel": "kernel",
    "initrd": "initrd",
}

Progress = Callable[[int, int], None]
"""Called with the bytes done so far and the bytes in all."""

_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class LocalImage:
    """An image in a separate directory."""

    directory: Path
    description: Description

    @classmethod
    def load(cls, directory: Path) -> LocalImage:
        """Return the image in *directory*.

        :raises ConfigurationError: there is none.
        """
        path = directory / DESCRIPTION
        try:
            text = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"there is no image in {directory}",
                details=str(error),
                resolution="Build one: latent-libvirt image build NAME",
            ) from error
        return cls(directory, Description.from_json(text, source=str(path)))

    def path(self, part: PartName) -> Path:
        """Return where a part of the image is."""
        return self.directory / FILES[part]

    def verify(self, progress: Progress = lambda _done, _total: None) -> None:
        """Compare every file with the description.

        :raises ConfigurationError: a file is missing or is not what was built.
        """
        done, total = 0, self.description.parts.size
        seen: dict[str, list[str | int]] = {}
        for name, part in self.description.parts.items():
            path = self.path(name)
            with suppress(OSError):
                seen[path.name] = stamps.stamp_of(path, part)
            found = measure(path, _counter(progress, done, total))
            if found != part:
                raise mismatch(path, found, part)
            done += part.size
        with suppress(OSError):  # somebody else's images need not be writable
            stamps.write(self.directory, seen)

    @property
    def is_unchanged(self) -> bool:
        """Whether no file was written since it was hashed, and was what is described."""
        return all(
            stamps.are_of(self.path(name), part) for name, part in self.description.parts.items()
        )

    def stamp(self) -> None:
        """Record that the files are those that were hashed for the description just now."""
        with suppress(OSError):
            stamps.write(self.directory, self._stamps())

    def _stamps(self) -> dict[str, list[str | int]]:
        files = ((self.path(name), part) for name, part in self.description.parts.items())
        return {path.name: stamps.stamp_of(path, part) for path, part in files}

    @contextmanager
    def unwritten(self) -> Iterator[None]:
        """See that nobody writes a file during a ``with`` block.

        :raises ConfigurationError: somebody has written one, or has replaced or deleted it.
        """
        before = self._stamps_or_error()
        yield
        after = self._stamps_or_error()
        if written := [name for name in before if before[name] != after[name]]:
            raise ConfigurationError(
                f"{self.directory / written[0]} was written while the image was published",
                resolution="Wait until nothing writes there, and publish the image again.",
            )

    def _stamps_or_error(self) -> dict[str, list[str | int]]:
        try:
            return self._stamps()
        except OSError as error:
            raise unreadable(self.directory, error) from error


def describe(directory: Path, description: Description) -> None:
    """Replace the description of the image in *directory*, at once or not at all."""
    draft = directory / f"{DESCRIPTION}.new"
    draft.write_text(description.to_json())
    draft.replace(directory / DESCRIPTION)


def _counter(progress: Progress, done: int, total: int) -> Callable[[int], None]:
    return lambda read: progress(done + read, total)


def mismatch(path: Path, found: Part, expected: Part) -> ConfigurationError:
    """Return the error that says that a file of an image is not what was built."""
    return ConfigurationError(
        f"{path} is not what was built",
        details=f"It has {found}; {DESCRIPTION} says {expected}.",
        resolution=f"Delete {path.parent} and build the image again.",
    )


def measure(path: Path, count: Callable[[int], None] = lambda _read: None) -> Part:
    """Return the size and SHA-256 of a file.

    :param count: called with the bytes read so far.
    :raises ConfigurationError: it cannot be read.
    """
    return measure_chunks(read_chunks(path), count)


def measure_chunks(
    chunks: Iterable[bytes], count: Callable[[int], None] = lambda _read: None
) -> Part:
    """Return the size and SHA-256 of all *chunks* together."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        count(size)
    return Part(sha256=digest.hexdigest(), size=size)


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, piece by piece.

    :raises ConfigurationError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            while data := file.read(_READ_BYTES):
                yield data
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> ConfigurationError:
    """Return the error that says that a file of an image cannot be read."""
    return ConfigurationError(
        f"{path} cannot be read", details=str(error), resolution="Build the image again."
    )


def sound_and_damaged(output: Path) -> tuple[tuple[LocalImage, ...], list[str]]:
    """Return the images below *output*, newest first, and in words what is wrong with others."""
    sound, damaged = [], []
    for directory in _directories(output):
        try:
            sound.append(LocalImage.load(directory))
        except ConfigurationError as error:
            damaged.append(f"{error.brief}. Delete {directory}, and build or import it again.")
    return _newest_first(sound), damaged


def local_images(output: Path, name: str | None = None) -> tuple[LocalImage, ...]:
    """Return the images below *output*, newest first.

    :param name: only those of that name.
    """
    wanted = [each for each in _directories(output) if name in (None, each.parent.name)]
    return _newest_first([LocalImage.load(directory) for directory in wanted])


def _directories(output: Path) -> list[Path]:
    """Return the directories of images, sorted by name."""
    found = output.glob(f"*/{'[0-9a-f]' * DIGEST_DIGITS}/{DESCRIPTION}")
    return sorted(path.parent for path in found)


def _newest_first(images: list[LocalImage]) -> tuple[LocalImage, ...]:
    return tuple(sorted(images, key=lambda image: image.description.created, reverse=True))


def newest(output: Path, name: str) -> LocalImage:
    """Return the image of that name that was built last.

    :raises ConfigurationError: there is none below *output*.
    """
    for image in local_images(output, name):
        return image
    raise ConfigurationError(
        f"there is no image {name!r} below {output}",
        resolution="Build it:"
        + advice.listed(
            advice.command("latent-libvirt", "image", "build", name, "--output", str(output))
        ),
    )
