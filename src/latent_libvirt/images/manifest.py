# SPDX-License-Identifier: GPL-2.0-only
"""The manifest of an image: every package in it, and how that compares with what is expected."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

Manifest = Mapping[str, str]
"""What is installed: ``deb NAME``, ``rpm NAME`` or ``wheel NAME``, and its version (and hash).

``base NUMBER`` is what the image was made of, and ``fetched URL`` a file with its hash.
"""

_BASE: Final = "base"

_PIN: Final = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+)(?:\s*\\\n\s*--hash=(sha256:[0-9a-f]{64}))", re.MULTILINE
)


def from_system(packages: str, requirements: str) -> Manifest:
    """Return the manifest of an image.

    :param packages: a line ``NAME VERSION`` for every Debian package.
    :param requirements: the text of the recipe's ``requirements.txt``.
    """
    debs = (line.split(" ", 1) for line in packages.splitlines())
    pins = _PIN.findall(requirements)
    return {f"deb {name}": version for name, version in debs} | {
        f"wheel {name}": f"{version} {digest}" for name, version, digest in pins
    }


def lineage(nearest: str, of_base: Manifest) -> Manifest:
    """Return what an image was made of, one step after the other: the nearest has the number 1.

    :param nearest: the base, and its digest.
    :param of_base: the base's manifest.
    """
    above = [version for _, version in sorted(_steps(of_base).items())]
    return {f"{_BASE} {number}": step for number, step in enumerate([nearest, *above], 1)}


def _steps(found: Manifest) -> dict[int, str]:
    rows = ((key.split(" ", 1), version) for key, version in found.items())
    return {int(n): version for (kind, n), version in rows if kind == _BASE and n.isdecimal()}


def parse(text: str) -> Manifest:
    """Return the manifest that :func:`serialize` wrote; comments and empty lines do not count."""
    rows = (line.split(" ", 2) for line in text.splitlines() if line and not line.startswith("#"))
    return {f"{kind} {name}": version for kind, name, version in rows}


def serialize(manifest: Manifest) -> str:
    """Return *manifest* as text, one package on each line."""
    return "".join(f"{name} {version}\n" for name, version in sorted(manifest.items()))


def read(path: Path) -> Manifest:
    """Return the manifest in a file; an empty one if there is no file."""
    return parse(path.read_text()) if path.exists() else {}


def differences(expected: Manifest, found: Manifest) -> Iterator[str]:
    """Yield in words what *found* has that *expected* has not, and the other way round."""
    packages = (name for name in expected.keys() | found.keys() if not name.startswith(f"{_BASE} "))
    for name in sorted(packages):
        before, after = expected.get(name), found.get(name)
        if before is None:
            yield f"{name}: {after} (new)"
        elif after is None:
            yield f"{name}: gone (was {before})"
        elif before != after:
            yield f"{name}: {after} (was {before})"
