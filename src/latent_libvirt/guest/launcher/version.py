# SPDX-License-Identifier: GPL-2.0-only
"""Version of the launcher: a hash of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

_HOME: Final = Path(__file__).parent


def files() -> dict[str, Path]:
    """Return the launcher's files, by their names in its directory, in the order of the names."""
    return {str(path.relative_to(_HOME)): path for path in sorted(_HOME.rglob("*.py"))}


def launcher_version() -> str:
    """Return what identifies the launcher's files: the first digits of their SHA-256."""
    content = b"".join(path.read_bytes() for path in files().values())
    return hashlib.sha256(content).hexdigest()[:12]
