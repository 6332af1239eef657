# SPDX-License-Identifier: GPL-2.0-only
"""Rows of the page: a pool's status, cut into parts that change one by one.

A row stands in a section under a key. It has moments in place of durations, in seconds since the
epoch, so that it stays the same while nothing happens. How rows get from one master to another is
in ``delta.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from latent_libvirt.status.past import SlotUse
    from latent_libvirt.status.pool import PoolStatus

Row = dict[str, Any]
Rows = dict[str, dict[str, Row]]
"""Rows by section and key."""

SECTIONS: Final = (
    *("pool", "hosts", "labels", "queues", "waiting"),
    *("vms", "spares", "held", "frozen", "saving", "failures", "uses"),
)

MOMENTS: Final = frozenset({"since", "phase_since", "until", "oldest_since", "began"})
"""Fields that are moments. They were durations, and so are not exact."""

MOST: Final = 2_000
"""Rows of a section."""

LONGEST: Final = 4_000
"""Characters of a text."""

_KEYS: Final = {"hosts": "name", "labels": "name", "queues": "label", "waiting": "request"}
_VMS_KEY: Final = "vm_id"
_FIELDS: Final = {"vms": "leases", "queues": "waiting", "waiting": "explained"}
"""The fields of a status that have other names than the sections."""


def rows(status: PoolStatus, now: float, uses: Iterable[SlotUse] = ()) -> Rows:
    """Return the rows of *status*, and of what was and is in the slots.

    :param now: when that was, in seconds since the epoch.
    """
    given = {name: getattr(status, _FIELDS.get(name, name), None) or () for name in SECTIONS[1:]}
    given["uses"] = uses
    sections = {name: _section(name, values, now) for name, values in given.items()}
    pool = {name: value for name, value in vars(status).items() if name not in _LISTED}
    pool["queues_known"] = status.waiting is not None
    return {"pool": {"": _bounded(pool)}} | sections


_LISTED: Final = frozenset(_FIELDS.get(name, name) for name in SECTIONS[1:])


def _section(name: str, given: Iterable[Any], now: float) -> dict[str, Row]:
    key = _KEYS.get(name, _VMS_KEY)
    first = itertools.islice(given, MOST)
    made = (_row(each, at, now) for at, each in enumerate(first))
    return {_key(row, key): row for row in made}


def _key(row: Row, name: str) -> str:
    """Return a row's key; a VM may fail more than once."""
    return f"{row[name]} {row['when']}" if "when" in row else str(row[name])


def row_of(value: Any) -> Row:
    """Return the row of one *value* that has no durations and no place among others."""
    return _bounded(vars(value))


def _row(value: Any, at: int, now: float) -> Row:
    """Return the row of *value*, which is the one with number *at* of its section."""
    row = _bounded(vars(value))
    for name, (moment, of) in _DURATIONS.items():
        if name in row:
            row[moment] = of(row.pop(name), now)
    if "slots" in row or "max_vms" in row:  # the order of the file
        row["at"] = at
    return row


def _ago(seconds: float, now: float) -> float:
    return round(now - seconds, 3)


def _ahead(seconds: float, now: float) -> float:
    return round(now + seconds, 3)


_DURATIONS: Final[dict[str, tuple[str, Callable[[float, float], float]]]] = {
    "seconds": ("since", _ago),
    "seconds_in_phase": ("phase_since", _ago),
    "oldest": ("oldest_since", _ago),
    "seconds_left": ("until", _ahead),
}


_AS_IT_IS: Final = frozenset({int, float, bool, type(None)})
"""Types of values that need no look."""


def _bounded(row: Row) -> Row:
    """Return *row* as JSON has it. There are thousands of rows, and most values are small."""
    bounded = dict(row)
    for name, value in row.items():
        kind = type(value)
        if kind is str:
            if len(value) > LONGEST:
                bounded[name] = value[:LONGEST]
        elif kind not in _AS_IT_IS:
            bounded[name] = _plain(value)
    return bounded


def _plain(value: Any) -> Any:
    """Return *value* as JSON has it, without what is too long."""
    match value:
        case str():
            return value[:LONGEST]
        case tuple():
            return [_plain(each) for each in value[:MOST]]
        case None | bool() | int() | float():
            return value
        case _:  # a part of a status: a build, a budget
            return _bounded(vars(value))
