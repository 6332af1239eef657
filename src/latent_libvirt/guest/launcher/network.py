# SPDX-License-Identifier: GPL-2.0-only
"""Network of the machine: its card and its default route."""

from __future__ import annotations

from pathlib import Path
from typing import Final

NETWORK_TIMEOUT: Final = 10.0
"""Seconds that a VM waits for an address before it says that it waits, with or without one."""


def has_default_route(table: Path = Path("/proc/net/route")) -> bool:
    """Tell whether the machine has an IPv4 default route."""
    rows = (line.split() for line in table.read_text().splitlines()[1:])
    return any(row[1] == "00000000" for row in rows)


def has_network_card(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Tell whether the machine has one, by its class on the PCI bus: the driver may come later."""
    return any(name.read_text().startswith("0x02") for name in devices.glob("*/class"))
