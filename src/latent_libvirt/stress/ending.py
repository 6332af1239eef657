# SPDX-License-Identifier: GPL-2.0-only
"""End of a run on request: the first signal interrupts it, and later ones print a line."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final

from latent_libvirt.process import interrupts

SIGNALS: Final = (signal.SIGINT, *interrupts.SIGNALS)

_LINE: Final = b"\nThe run is ending; this takes up to two minutes.\n"


class Ending:
    """The handler of signals."""

    def __init__(self) -> None:
        self._has_begun = False

    def listen(self) -> None:
        """Handle the signals from now on, except for those that are ignored (as by nohup)."""
        for each in SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, self._handle)

    def ignore(self) -> None:
        """Handle no more signals: nothing is left to end but this process.

        Python would restore their default action as it exits.
        """
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)

    def _handle(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            interrupts.leave_terminal()
        if not self._has_begun:
            self._has_begun = True
            raise KeyboardInterrupt if number == signal.SIGINT else interrupts.Interrupted(number)
        with suppress(OSError):
            os.write(2, _LINE)  # print() may be what the signal has interrupted
