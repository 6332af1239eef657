# SPDX-License-Identifier: GPL-2.0-only
"""Samples of an uploaded volume, compared with the file that was sent.

They show that a host has put the pieces and the holes where they belong. That each piece arrived
as it was sent is the connection's promise.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import libvirt

from latent_libvirt.host.volumes.images import ChangedVolumeError
from latent_libvirt.host.volumes.transfer import beginning, volume_called
from latent_libvirt.images.local import unreadable
from latent_libvirt.images.pieces import borders_of_data

_SAMPLE_BYTES: Final = 4096
_SPREAD: Final = 6
_BESIDE_HOLES: Final = 8
"""Samples of one volume: each is three messages."""

_LOOKED_AT: Final = 1000
"""Borders between data and holes of which some are chosen."""

_TRANSPORTS: Final = ("", "libssh", "libssh2", "ssh", "tls", "unix")
"""Ways to a libvirtd that change no byte, or end the connection. ``tcp`` has a weak checksum."""


def keeps_content(uri: str) -> bool:
    """Whether what a stream of that connection carries arrives as it was sent."""
    return urlsplit(uri).scheme.partition("+")[2] in _TRANSPORTS


def compare_samples(pool: libvirt.virStoragePool, name: str, path: Path, size: int) -> None:
    """Compare the length and samples of a volume with the file *path* of *size* bytes.

    :raises ChangedVolumeError: the volume is missing, or is something else.
    :raises ConfigurationError: the file cannot be read.
    """
    volume = volume_called(pool, name)
    if volume is None:
        raise _changed(name, "It is gone.")
    length = int(volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2])
    if length < size:  # storage pools of block devices round sizes up
        raise _changed(name, f"It has {length} bytes, and {size} were sent.")
    try:
        for at in _places(path, size):
            _compare(volume, name, path, at, min(_SAMPLE_BYTES, size - at))
    except OSError as error:
        raise unreadable(path, error) from error


def _compare(volume: libvirt.virStorageVol, name: str, path: Path, at: int, size: int) -> None:
    with path.open("rb") as file:
        file.seek(at)
        sent = file.read(size)
    if beginning(volume, size, start=at) != sent:
        raise _changed(name, f"It has other bytes at {at} than were sent.")


def _places(path: Path, size: int) -> list[int]:
    """Return where samples are: at both ends, beside holes, and in equal distances.

    Lets ``OSError`` pass.
    """
    last = max(0, size - _SAMPLE_BYTES)
    spread = [last * number // _SPREAD for number in range(_SPREAD + 1)]
    borders = [place for place in islice(borders_of_data(path), _LOOKED_AT) if place < last]
    step = max(1, len(borders) // _BESIDE_HOLES)
    beside = [max(0, place - _SAMPLE_BYTES // 2) for place in borders[::step]]
    return sorted({*spread, *beside[:_BESIDE_HOLES]})


def _changed(name: str, why: str) -> ChangedVolumeError:
    return ChangedVolumeError(
        f"volume {name} is not what was published",
        details=why,
        resolution="Publish the image again. If it fails again, see libvirtd's log on the host.",
    )
