# SPDX-License-Identifier: GPL-2.0-only
"""Keys of ssh that sign images."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Signer:
    """A key.

    :param file: with its private half.
    :param public: as ssh writes it.
    """

    file: Path
    public: str


def new_signer(directory: Path, *, kind: str = "ed25519", name: str = "key") -> Signer:
    """Return a new key, whose files are in *directory*."""
    file = directory / name
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "a comment", "-f", str(file)]
    subprocess.run(command, check=True)
    return Signer(file, file.with_suffix(".pub").read_text().strip())
