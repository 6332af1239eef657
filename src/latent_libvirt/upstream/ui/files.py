# SPDX-License-Identifier: GPL-2.0-only
"""Files of a plugin of Buildbot's web UI, and how they are served.

A plugin has its files in the directory ``static`` of a package. The files that all plugins share
are in this package, and each plugin serves them below ``ui/``. So a script imports its modules by
relative paths, whatever proxy is in front.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from twisted.web.static import File

from latent_libvirt.upstream.ui.methods import READING, not_allowed

_KINDS: Final = {".js": "text/javascript", ".css": "text/css"}

Files = dict[tuple[bytes, ...], Any]
"""Twisted's resources by the parts of their paths."""


def static_files(package: str) -> Files:
    """Return the files of the plugin whose package this is, and those that all plugins share."""
    shared = _files(__package__)
    return _files(package) | {(b"ui", *path): file for path, file in shared.items()}


def _files(package: str) -> Files:
    top = Path(str(files(package) / "static"))
    paths = (path for path in sorted(top.rglob("*")) if path.suffix in _KINDS)
    return {_parts(path.relative_to(top)): _File(path) for path in paths}


def _parts(path: Path) -> tuple[bytes, ...]:
    return tuple(part.encode() for part in path.parts)


class _File(File):
    """A file that browsers ask for each time, so that all modules are of one version."""

    isLeaf = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), f"{_KINDS[path.suffix]}; charset=utf-8")

    def render(self, request: Any) -> Any:
        """Answer with the file, or with 304 if the browser has it."""
        if request.method not in READING:
            return not_allowed(request, READING)
        request.setHeader(b"cache-control", b"no-cache")
        return super().render(request)  # type: ignore[no-untyped-call]  # Twisted's
