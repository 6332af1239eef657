# SPDX-License-Identifier: GPL-2.0-only
"""Limits from which on a resource is saturated, and names that several rules use."""

from __future__ import annotations

from typing import Final

MOST_LATE: Final = 1.0
"""Seconds that posts may begin too late (99 %)."""

MOST_ANSWERS: Final = 0.8
"""Share of the time of late posts in which all posters waited for answers: from there on, it is not
the harness that was too slow."""

MOST_CORES: Final = 0.85
"""Cores of one process with one thread that does the work: a master, the readers, the guests."""

MOST_DELAY: Final = 0.5
"""Seconds that an event loop may be late: the worst of a second, in half of all seconds."""

MOST_MACHINE: Final = 0.9
"""Share of this machine's processors."""

MOST_OTHERS: Final = 0.2
"""Share of this machine's processors that programs may take which are no part of the run."""

MOST_WAITS: Final = 0.5
"""Seconds for each second that statements take and PostgreSQL does not work."""

MOST_SLOTS: Final = 0.95
"""Share of the slots that are taken while requests wait."""

PROCESSORS: Final = "the processors of this machine"
SLOTS: Final = "the slots of the hosts"
