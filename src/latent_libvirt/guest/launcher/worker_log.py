# SPDX-License-Identifier: GPL-2.0-only
"""Log of the worker, in its directory and on the console."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


def begin_logging(path: Path) -> _UntilAttached:
    """Let the worker log to *path*; and to the console too, until it is attached.

    What a worker says later can be much, and a serial console is slow.
    """
    logger: Any = importlib.import_module("twisted.logger")
    log = logger.textFileLogObserver(path.open("a"))
    console = logger.textFileLogObserver(sys.stderr)
    watch = _UntilAttached(logger)
    until_attached = logger.FilteringLogObserver(console, [watch])
    logger.globalLogBeginner.beginLoggingTo([log, until_attached], redirectStandardIO=False)
    return watch


class _UntilAttached:
    """Lets events pass until one says that the worker is attached."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self.attached = False

    def __call__(self, event: dict[str, Any]) -> Any:
        if self.attached and event.get("log_level") != self._logger.LogLevel.critical:
            return self._logger.PredicateResult.no
        self.attached |= "Connected to buildmaster" in self._logger.formatEvent(event)
        return self._logger.PredicateResult.maybe
