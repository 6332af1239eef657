# SPDX-License-Identifier: GPL-2.0-only
"""A clock that a test sets for one process, which does not notice (libfaketime)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

BACK: Final = "-3600"
"""An hour, in seconds."""

SAID_BACK: Final = "the clock was set back by 3600 s; timers go by the time that passes"


class SetClock:
    """The time of day of the processes that have :attr:`environment`; at first it is right.

    Their monotonic clock stays what it is. A process with threads is given the right time now and
    then, while libfaketime reads the file. So a master may notice one step several times.

    :param file: says how far their time of day is off.
    """

    def __init__(self, file: Path) -> None:
        assert LIBRARIES, "bootstrap brings libfaketime"
        self._file = file
        self.set("+0")

    def set(self, step: str) -> None:
        """Set it to so many seconds before or after the right time."""
        self._file.write_text(step)

    @property
    def environment(self) -> dict[str, str]:
        """What lets a process go by it."""
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    @property
    def enter(self) -> tuple[str, ...]:
        """What to put before a command so that it goes by it."""
        return ("env", *(f"{name}={value}" for name, value in self.environment.items()))

    def forget(self, pid: int) -> None:
        """Remove the memory that the library has left of a process which has ended."""
        for left in Path("/dev/shm").glob(f"*faketime_*_{pid}"):
            left.unlink()
