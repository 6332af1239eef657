# SPDX-License-Identifier: GPL-2.0-only
"""The operator's terminal while a guest has it: its modes, and what of its input is for us."""

from __future__ import annotations

import codecs
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from latent_libvirt.plain_text.control_sequences import PlainText

DETACH = b"\x1d"
"""Ctrl-], as in telnet and virsh."""

DETACH_NAME = "Ctrl-]"

_DEADLY = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def given_away(descriptor: int, *, read_only: bool) -> Iterator[None]:
    """Pass on every key of a terminal as it is pressed, for the length of a ``with`` block.

    However the block ends, except by SIGKILL, the terminal is what it was before. What is typed
    before it begins is kept for the guest.

    :param read_only: leave Ctrl-C and the like what they are: there is nobody to hand them to.
    """
    before = termios.tcgetattr(descriptor)

    def take() -> None:
        if read_only:
            tty.setcbreak(descriptor, termios.TCSADRAIN)
        else:
            tty.setraw(descriptor, termios.TCSADRAIN)

    with ExitStack() as undo:
        # With flush: what a guest makes the terminal answer must not become a command to a shell.
        undo.callback(termios.tcsetattr, descriptor, termios.TCSAFLUSH, before)
        for number in _DEADLY:
            undo.enter_context(_handled(number, _exit))
        # Who stopped us has taken the terminal back.
        undo.enter_context(_handled(signal.SIGCONT, lambda _number, _frame: take()))
        take()
        yield


@contextmanager
def _handled(number: signal.Signals, handler: signal._HANDLER) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _exit(number: int, _frame: FrameType | None) -> None:
    """End like a process that the signal has killed, but with everything undone."""
    raise SystemExit(128 + number)


def until_detached(typed: bytes) -> tuple[bytes, bool]:
    """Return what of *typed* is for the guest, and whether the operator detaches after it.

    :param typed: empty if the terminal is gone.
    """
    before, key, _after = typed.partition(DETACH)
    return before, bool(key) or not typed


def plain_text(line_end: str) -> Callable[[bytes], bytes]:
    """Return what makes text of a guest's bytes, so that none of it can command a terminal.

    It leaves printable characters, tabs, and the ends of lines. A line that is written over begins
    a new one.

    :param line_end: what the ends of lines are to be.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    plain = PlainText()
    return lambda data: plain.of(decoder.decode(data)).replace("\n", line_end).encode()
