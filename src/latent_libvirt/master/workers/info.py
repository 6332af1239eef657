# SPDX-License-Identifier: GPL-2.0-only
"""Facts that a guest's worker states, as far as they are what Buildbot expects of workers.

Buildbot 4.3 takes the answer as it is. An answer of another type ends the attaching half-way: the
worker then counts as connected for good, and no VM can attach as that worker until the master is
restarted. A large one goes into the database and to all who look at the workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MOST_KEYS: Final = 100
LONGEST_NAME: Final = 200
MOST_OF_A_TEXT: Final = 16 * 1024
MOST_VARIABLES: Final = 2_000
MOST_OF_VARIABLES: Final = 1024 * 1024
LARGEST: Final = 2**53
"""What JSON can hold exactly."""

TABLES: Final = ("environ", "worker_commands")
"""Of these, values are texts by name."""


LINK: Final = "access_uri"
"""What Buildbot's page of workers makes a link of, even of a script."""


def fit(info: object) -> dict[str, Any]:
    """Return what is fit to be kept of *info*; who says nonsense has said nothing."""
    if not isinstance(info, Mapping):
        return {}
    first = list(info.items())[:MOST_KEYS]
    texts = {name: value for name, value in first if _is_name(name) and _is_plain(value)}
    if not str(texts.get(LINK)).startswith(("http://", "https://")):
        texts.pop(LINK, None)
    return texts | {name: _table(info.get(name)) for name in TABLES}


def _is_name(name: object) -> bool:
    return isinstance(name, str) and len(name) <= LONGEST_NAME and name not in TABLES


def _table(values: object) -> dict[str, str]:
    """Return a table of texts, or an empty one if it is something else."""
    if not isinstance(values, Mapping) or len(values) > MOST_VARIABLES:
        return {}
    texts = {k: v for k, v in values.items() if isinstance(k, str) and isinstance(v, str)}
    size = sum(len(name) + len(value) for name, value in texts.items())
    return texts if size <= MOST_OF_VARIABLES else {}


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MOST_OF_A_TEXT
    return value is None or (isinstance(value, int) and abs(value) <= LARGEST)
