# SPDX-License-Identifier: GPL-2.0-only
"""Sets of many hosts, as bits of whole numbers in two tiers: what they share is found at once.

A set is cut into blocks, each a number of :data:`BLOCK` bits. Two more numbers have a bit for each
block: whether it has any host, and whether it has every one. What several sets have in common is
looked for only in blocks where there may be something, so that ten times as many hosts make hardly
any difference. Which sets there are, and why, is in ``placement.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import and_

BLOCK = 64
"""Hosts in a block."""


class HostSet:
    """Some of the hosts ``0`` to ``size - 1``; at first, none."""

    def __init__(self, size: int, hosts: Iterable[int] = ()) -> None:
        whole, rest = divmod(size, BLOCK)
        self._full = [(1 << BLOCK) - 1] * whole + ([(1 << rest) - 1] if rest else [])
        self.blocks = [0] * len(self._full)
        self.some = 0
        self.every = 0
        for host in hosts:
            self.toggle(host)

    def __contains__(self, host: int) -> bool:
        number, position = divmod(host, BLOCK)
        return bool(self.blocks[number] >> position & 1)

    def toggle(self, host: int) -> None:
        """Add *host*, or take it out."""
        number, position = divmod(host, BLOCK)
        block = self.blocks[number] = self.blocks[number] ^ (1 << position)
        bit = 1 << number
        self.some = self.some | bit if block else self.some & ~bit
        self.every = self.every | bit if block == self._full[number] else self.every & ~bit


def masks(hosts: Iterable[int]) -> dict[int, int]:
    """Return a few hosts, by block, for the *avoid* of :func:`first`."""
    found: dict[int, int] = {}
    for host in hosts:
        number, position = divmod(host, BLOCK)
        found[number] = found.get(number, 0) | 1 << position
    return found


def first(
    inside: Sequence[HostSet], not_all_of: Sequence[HostSet] = (), avoid: Mapping[int, int] = {}
) -> int | None:
    """Return the first host that is in each set of *inside*, and not in each of *not_all_of*.

    :param avoid: hosts that are not to be found, as :func:`masks` returns them.
    """
    candidates = reduce(and_, (hosts.some for hosts in inside))
    if not_all_of:
        candidates &= ~reduce(and_, (hosts.every for hosts in not_all_of))
    while candidates:
        lowest = candidates & -candidates
        number = lowest.bit_length() - 1
        found = reduce(and_, (hosts.blocks[number] for hosts in inside)) & ~avoid.get(number, 0)
        if not_all_of:
            found &= ~reduce(and_, (hosts.blocks[number] for hosts in not_all_of))
        if found:
            return number * BLOCK + (found & -found).bit_length() - 1
        candidates ^= lowest
    return None
