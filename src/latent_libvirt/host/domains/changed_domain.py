# SPDX-License-Identifier: GPL-2.0-only
"""Change of a domain by a function of `master.cfg`, and what of a domain no function may change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lxml import etree

from latent_libvirt.config.fragment_xml import OUR_CHANNELS, OWNED, adds_memory, memory_of_cells
from latent_libvirt.errors import ConfigurationError

Change = Callable[[Any], object]
"""Changes a domain, an element of lxml's."""

_ADVICE: Final = "Correct the function that is given to pool.change_domains() in master.cfg."


def apply(change: Change, domain: etree._Element) -> None:
    """Let *change* change *domain*.

    :raises ConfigurationError: if it fails, or changes what the pool owns.
    """
    owned, disks, channels = _owned(domain), _disks(domain), _channels(domain)
    memory = _memory(domain)
    try:
        change(domain)
    except Exception as error:
        raise ConfigurationError(
            "the function that changes domains has failed",
            details=f"{type(error).__name__}: {error}",
            resolution=_ADVICE,
        ) from error
    now = _owned(domain)
    parts = [what for what in owned if owned[what] != now[what]]
    parts += ["<disk>"] * (not disks <= _disks(domain))
    parts += ["<memory>"] * (memory != _memory(domain))
    parts += ["<channel>"] * (channels != _channels(domain))
    if parts:
        raise ConfigurationError(
            f"the function that changes domains has changed {parts[0]}, which belongs to the pool",
            resolution=_ADVICE,
        )


def _owned(domain: etree._Element) -> dict[str, object]:
    found: dict[str, object] = {"the root element": (domain.tag, domain.get("type"))}
    for path in OWNED:
        found[f"<{path.rpartition('/')[2]}>"] = [_text(each) for each in domain.findall(path)]
    return found


def _memory(domain: etree._Element) -> tuple[str, int]:
    """Return the KiB of the domain, and how many devices are more memory."""
    cells, own = memory_of_cells(domain), domain.findtext("memory") or ""
    more = [each for each in domain.findall("devices/memory") if adds_memory(each)]
    return own if cells is None else str(cells // 1024), len(more)


def _disks(domain: etree._Element) -> set[bytes]:
    """Return the disks: those that are there stay, and others may come."""
    return {_text(disk) for disk in domain.findall("devices/disk")}


def _channels(domain: etree._Element) -> list[bytes]:
    targets = domain.findall("devices/channel/target")
    ours = [each for each in targets if each.get("name", "").startswith(OUR_CHANNELS)]
    return sorted(_text(channel) for each in ours if (channel := each.getparent()) is not None)


def _text(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n")
