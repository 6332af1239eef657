# SPDX-License-Identifier: GPL-2.0-only
"""Ready-made groups of destinations, as the tools of this machine are configured.

``debian`` has the hosts of apt's sources, ``pypi`` those of pip's indexes, and ``npm`` that of
npm's registry. So builds fetch from the mirrors that the operator uses. No host is named here.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

ROOT: Final = Path("/")

_FILES: Final = {
    "debian": (
        "etc/apt/sources.list",
        "etc/apt/sources.list.d/*.list",
        "etc/apt/sources.list.d/*.sources",
    ),
    "npm": ("etc/npmrc", "usr/etc/npmrc"),
    "pypi": ("etc/pip.conf", "etc/xdg/pip/pip.conf"),
}
_PORTS: Final = {"http": 80, "https": 443}
_LONGEST: Final = 256 * 1024


def ready_made() -> Mapping[str, tuple[str, ...]]:
    """Return the groups that need no entry in ``network_groups``, as text.

    The files are read once: VMs that start ask for the groups, on the reactor's thread.
    """
    return _read(ROOT)


def files_of(group: str) -> tuple[str, ...]:
    """Return the patterns of the files that a ready-made group is from; none of another group."""
    return tuple(f"/{pattern}" for pattern in _FILES.get(group, ()))


@functools.cache
def _read(root: Path) -> Mapping[str, tuple[str, ...]]:
    found = {name: tuple(dict.fromkeys(_hosts(root, name))) for name in _FILES}
    return {name: items for name, items in found.items() if items}


def _hosts(root: Path, group: str) -> Iterator[str]:
    for pattern in _FILES[group]:
        for path in sorted(root.glob(pattern)):
            for url in re.findall(r"^[^#\n]*?(https?://[^\s\]]+)", _text(path), re.MULTILINE):
                yield from _host(url)


def _text(path: Path) -> str:
    try:
        with path.open(errors="replace") as file:
            return file.read(_LONGEST)
    except OSError:
        return ""


def _host(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except ValueError:
        return
    name = parts.hostname or ""
    if re.fullmatch("[a-z0-9.-]+", name) and not is_address(name):
        yield f"{name}:{port}"


def is_address(name: str) -> bool:
    """Whether *name* is an IP address, or what resolvers read as one, such as ``127.1``."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        last = name.rpartition(".")[2]
        return re.fullmatch("[0-9]+|0x[0-9a-f]*", last) is not None
    return True
