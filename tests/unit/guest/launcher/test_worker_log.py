# SPDX-License-Identifier: GPL-2.0-only
"""The worker's log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted import logger
from twisted.logger import LogLevel, PredicateResult

from latent_libvirt.guest.launcher.worker_log import _UntilAttached


def log_events(filter_: Callable[[dict[str, Any]], Any], *texts: str) -> list[bool]:
    events = ({"log_format": text, "log_level": LogLevel.info} for text in texts)
    return [filter_(event) != PredicateResult.no for event in events]


def test_the_console_hears_the_worker_until_it_is_attached() -> None:
    filter_ = _UntilAttached(logger)

    assert log_events(filter_, "Starting", "Connected to buildmaster; ready", "a command") == [
        True,
        True,
        False,
    ]
