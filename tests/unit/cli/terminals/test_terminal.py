# SPDX-License-Identifier: GPL-2.0-only
"""A terminal that a guest has had is what it was before, and its input goes where it should."""

from __future__ import annotations

import os
import pty
import select
import signal
import termios
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.cli.terminals.terminal import given_away, plain_text, until_detached


class Terminal:
    """A pseudo terminal: the end that a program has, and that of the person."""

    def __init__(self) -> None:
        self.keyboard, self.descriptor = pty.openpty()

    def modes(self) -> list[object]:
        return termios.tcgetattr(self.descriptor)

    def local_modes(self) -> int:
        return int(termios.tcgetattr(self.descriptor)[3])


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    os.close(terminal.keyboard)
    os.close(terminal.descriptor)


def test_every_key_is_handed_over_and_the_terminal_comes_back(terminal: Terminal) -> None:
    before = terminal.modes()

    with given_away(terminal.descriptor, read_only=False):
        os.write(terminal.keyboard, b"\x03\x1a\x04")
        assert os.read(terminal.descriptor, 9) == b"\x03\x1a\x04"
        assert not terminal.local_modes() & termios.ECHO

    assert terminal.modes() == before


@pytest.mark.parametrize("read_only", [False, True])
def test_what_was_typed_before_is_not_lost(terminal: Terminal, *, read_only: bool) -> None:
    os.write(terminal.keyboard, b"whoami")

    with given_away(terminal.descriptor, read_only=read_only):
        assert select.select([terminal.descriptor], [], [], 60)[0]
        assert os.read(terminal.descriptor, 9) == b"whoami"


def test_who_only_watches_can_still_interrupt(terminal: Terminal) -> None:
    with given_away(terminal.descriptor, read_only=True):
        assert terminal.local_modes() & termios.ISIG
        assert not terminal.local_modes() & (termios.ECHO | termios.ICANON)


def test_it_comes_back_after_an_error(terminal: Terminal) -> None:
    before = terminal.modes()

    with pytest.raises(ZeroDivisionError), given_away(terminal.descriptor, read_only=False):
        raise ZeroDivisionError

    assert terminal.modes() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_comes_back_when_the_process_is_killed(
    terminal: Terminal, number: signal.Signals
) -> None:
    before, handler = terminal.modes(), signal.getsignal(number)

    with (
        pytest.raises(SystemExit) as caught,
        given_away(terminal.descriptor, read_only=False),
    ):
        signal.raise_signal(number)

    assert caught.value.code == 128 + number
    assert terminal.modes() == before
    assert signal.getsignal(number) is handler


def test_it_is_given_away_again_after_a_stop(terminal: Terminal) -> None:
    before = termios.tcgetattr(terminal.descriptor)

    with given_away(terminal.descriptor, read_only=False):
        termios.tcsetattr(terminal.descriptor, termios.TCSANOW, before)  # as a shell does
        signal.raise_signal(signal.SIGCONT)

        assert not terminal.local_modes() & termios.ICANON


def test_what_a_guest_makes_the_terminal_say_does_not_reach_the_shell(terminal: Terminal) -> None:
    with given_away(terminal.descriptor, read_only=False):
        os.write(terminal.keyboard, b"rm -rf /\r")
        assert select.select([terminal.descriptor], [], [], 60)[0]

    os.set_blocking(terminal.descriptor, False)
    with pytest.raises(BlockingIOError):
        os.read(terminal.descriptor, 99)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (b"ls\r", (b"ls\r", False)),
        (b"\x1d", (b"", True)),
        (b"ls\r\x1drest", (b"ls\r", True)),
        (b"", (b"", True)),
    ],
)
def test_one_key_detaches_and_so_does_the_loss_of_the_terminal(
    typed: bytes, expected: tuple[bytes, bool]
) -> None:
    assert until_detached(typed) == expected


@given(st.lists(st.binary()))
def test_plain_text_commands_no_terminal(pieces: list[bytes]) -> None:
    plain = plain_text("\r\n")
    text = b"".join(map(plain, pieces)).decode().replace("\r\n", "").replace("\t", "")

    assert text == "" or text.isprintable()


@given(st.text(st.characters(categories=["L", "N", "P"])), st.integers(1, 3))
def test_plain_text_keeps_text_however_it_is_cut(text: str, size: int) -> None:
    plain, data = plain_text("\n"), text.encode()

    assert b"".join(plain(data[i : i + size]) for i in range(0, len(data), size)) == data


def test_plain_text_keeps_tabs_and_ends_lines_as_the_terminal_wants() -> None:
    assert plain_text("\r\n")(b"a\tb\r\n\x1b]0;owned\x07c\xc2\x85d") == b"a\tb\r\ncd"
