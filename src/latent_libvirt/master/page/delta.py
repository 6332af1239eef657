# SPDX-License-Identifier: GPL-2.0-only
"""Deltas between two states of a pool's rows, in messages of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TypedDict

from latent_libvirt.master.page.rows import MOMENTS

if TYPE_CHECKING:
    from latent_libvirt.master.page.rows import Row, Rows

TOLERANCE: Final = 1.0
"""Seconds by which a moment may move without being another one. Clocks are read twice for each."""

MOST_IN_A_MESSAGE: Final = 250
"""Rows. A thousand VMs are some 400 KiB of JSON, and a router bounds its messages."""


class Delta(TypedDict):
    """What is to be set, and what is gone.

    :param set: rows by section and key.
    :param drop: keys by section.
    """

    set: Rows
    drop: dict[str, list[str]]


def settled(before: Rows, after: Rows) -> Rows:
    """Return *after*, with the rows of *before* where they say the same."""
    return {
        section: {
            key: old if (old := _of(before, section, key)) and same(old, row) else row
            for key, row in those.items()
        }
        for section, those in after.items()
    }


def _of(rows: Rows, section: str, key: str) -> Row | None:
    return rows.get(section, {}).get(key)


def same(one: Row, other: Row) -> bool:
    """Return whether two rows say the same, apart from a moment's being read twice."""
    if one is other:
        return True
    if one.keys() != other.keys():
        return False
    for name, value in one.items():  # thousands of rows, twice a second: no generator
        if value != other[name] and not (name in MOMENTS and abs(value - other[name]) < TOLERANCE):
            return False
    return True


def delta(before: Rows, after: Rows) -> Delta:
    """Return what leads from *before* to *after*, which was :func:`settled`."""
    changed = {
        section: {k: row for k, row in those.items() if row is not _of(before, section, k)}
        for section, those in after.items()
    }
    gone = {
        section: [key for key in those if key not in after.get(section, {})]
        for section, those in before.items()
    }
    return Delta(
        set={section: those for section, those in changed.items() if those},
        drop={section: keys for section, keys in gone.items() if keys},
    )


def messages(change: Delta) -> Iterator[Delta]:
    """Yield *change* in messages, at least one."""
    part, count = Delta(set={}, drop=change["drop"]), 0
    for section, key, row in _flat(change["set"]):
        if count == MOST_IN_A_MESSAGE:
            yield part
            part, count = Delta(set={}, drop={}), 0
        part["set"].setdefault(section, {})[key] = row
        count += 1
    yield part


def _flat(rows: Rows) -> Iterator[tuple[str, str, Row]]:
    for section, those in rows.items():
        for key, row in those.items():
            yield section, key, row


def is_delta(message: Any) -> bool:
    """Return whether a message of another master has a delta's shape."""
    if not isinstance(message, dict):
        return False
    rows, gone = message.get("set"), message.get("drop")
    return (
        isinstance(rows, dict)
        and isinstance(gone, dict)
        and all(isinstance(those, dict) for those in rows.values())
        and all(isinstance(row, dict) for those in rows.values() for row in those.values())
        and all(isinstance(keys, list) for keys in gone.values())
    )
