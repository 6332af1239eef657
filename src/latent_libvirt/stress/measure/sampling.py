# SPDX-License-Identifier: GPL-2.0-only
"""A thread that measures at regular times, for the length of a ``with`` block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.stress.measure.raw import append

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row


class MeasurementError(LatentLibvirtError):
    """A measurement has failed, and the run is worth nothing."""


@contextmanager
def sampling(
    sample: Callable[[], Iterable[Row]], into: Path, *, every: float
) -> Iterator[Callable[[], None]]:
    """Write what *sample* returns, again and again; yield what raises if that has failed.

    :param every: seconds between two samples.
    """
    stop = threading.Event()
    failures: list[Exception] = []

    def work() -> None:
        due = time.monotonic()
        try:
            while not stop.wait(max(0.0, due - time.monotonic())):
                append(into, sample())
                due = max(due + every, time.monotonic() + every / 2)
        except Exception as error:  # noqa: BLE001 - it is raised where somebody waits
            failures.append(error)

    def check() -> None:
        if failures:
            brief = f"{into.stem} cannot be measured"
            raise MeasurementError(brief, details=repr(failures[0])) from failures[0]

    thread = threading.Thread(target=work, name=f"measures {into.stem}", daemon=True)
    thread.start()
    try:
        yield check
    finally:
        stop.set()
        thread.join()
