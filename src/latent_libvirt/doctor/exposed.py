# SPDX-License-Identifier: GPL-2.0-only
"""Check of what guests of ``user`` networks reach on this machine, besides their master.

QEMU's user-mode network leads a guest's connections to 10.0.2.2 on to the loopback of the host, as
the host's own. So builds reach a service that listens on loopback only and asks for no password.
This looks for listeners; it does not know whether a service asks for a password.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from twisted.internet.threads import deferToThread

from latent_libvirt.advice import page
from latent_libvirt.config.listener import USER_NETWORK_HOST
from latent_libvirt.doctor.finding import fine, warning
from latent_libvirt.host.domains.vm_spec import Network
from latent_libvirt.plain_text import as_text

if TYPE_CHECKING:
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.doctor.host_under_test import HostUnderTest

CHECK: Final = "reach of guests"

PROC: Final = Path("/proc")
MOST_LINES: Final = 20_000
"""Sockets that are looked at; of each kind."""
MOST_DESCRIPTORS: Final = 100_000
"""Open files of all processes that are looked at."""
MOST_SHOWN: Final = 20

_LISTENS: Final = "0A"
_WORD: Final = 8  # hexadecimal digits, in the byte order of the machine


@dataclass(frozen=True, order=True)
class Service:
    """Something that listens where guests come to.

    :param process: its name; empty if it belongs to somebody else.
    """

    port: int
    process: str

    def __str__(self) -> str:
        return f"{self.port} ({self.process})" if self.process else str(self.port)


async def check(tested: HostUnderTest) -> list[Finding]:
    """Say what guests of labels with ``network: user`` reach; nothing if this is not their host."""
    labels = [name for name, of in tested.labels.items() if Network.of(of).kind == "user"]
    if not labels or not _is_here(tested.config.uri):
        return []
    found: list[Service] = await deferToThread(services)
    port = None if tested.listener is None else tested.listener.port
    return [verdict(labels, [each for each in found if each.port != port])]


def verdict(labels: list[str], found: list[Service]) -> Finding:
    """Return what to think of it.

    :param found: without the port that guests are to reach.
    """
    who = f"guests of {', '.join(labels)}"
    if not found:
        return fine(CHECK, f"{who} reach nothing on this host at {USER_NETWORK_HOST}")
    shown = ", ".join(map(str, found[:MOST_SHOWN]))
    more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
    return warning(
        CHECK,
        f"{who} reach TCP ports of this host at {USER_NETWORK_HOST}: {shown}{more}",
        details="Their network (user) leads to this host's loopback. A service there takes the "
        "connection of a guest for one of a program on this host.",
        resolution="See that each of them asks for a password, or does not run here; or give the "
        "labels a libvirt network "
        f"({page('docs/explanation/security.md')}, What a guest can reach).",
    )


def services(proc: Path = PROC) -> list[Service]:
    """Return what listens on the loopback or everywhere, by port."""
    inodes = {
        inode: port for kind in ("tcp", "tcp6") for port, inode in _listening(proc / "net" / kind)
    }
    names = _names(proc, frozenset(inodes))
    named: dict[int, str] = {}
    for inode, port in inodes.items():
        named[port] = named.get(port) or names.get(inode, "")
    return sorted(Service(port, name) for port, name in named.items())


def _listening(table: Path) -> Iterator[tuple[int, str]]:
    """Yield the ports that guests reach, and the inodes of their sockets."""
    try:
        with table.open() as lines:
            for line in islice(lines, 1, MOST_LINES):
                fields = line.split()
                if len(fields) > 9 and fields[3] == _LISTENS and _is_reached(fields[1]):  # noqa: PLR2004
                    yield int(fields[1].rpartition(":")[2], 16), fields[9]
    except (OSError, ValueError):
        return


def _is_reached(local: str) -> bool:
    address = local.partition(":")[0]
    words = [address[at : at + _WORD] for at in range(0, len(address), _WORD)]
    packed = b"".join(socket.htonl(int.from_bytes(bytes.fromhex(w))).to_bytes(4) for w in words)
    ip = ipaddress.ip_address(packed)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback or ip.is_unspecified


def _names(proc: Path, inodes: frozenset[str]) -> dict[str, str]:
    """Return the names of the processes that hold sockets, as far as we may see them."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, str] = {}
    for descriptor in islice(_descriptors(proc), MOST_DESCRIPTORS):
        try:
            inode = wanted.get(str(Path(descriptor.path).readlink()))
            if inode is not None:
                name = Path(descriptor.path).parents[1] / "comm"
                found[inode] = as_text(name.read_text(errors="replace").strip())
        except OSError:  # it has ended, or is not ours to see
            continue
    return found


def _descriptors(proc: Path) -> Iterator[os.DirEntry[str]]:
    for process in proc.glob("[0-9]*"):
        yield from _entries(process / "fd")


def _entries(directory: Path) -> Iterable[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def _is_here(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.scheme in {"qemu", "qemu+unix"} and not parts.hostname
