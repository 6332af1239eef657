# SPDX-License-Identifier: GPL-2.0-only
"""The size of a terminal is typed at the first prompt of each shell that it opens."""

from __future__ import annotations

from latent_libvirt.cli.shell import SizeOfShell
from latent_libvirt.control.console import CLOSED

PROMPT = b"root@vm:~# "
STTY = b" stty rows 50 cols 132\r"


class Terminal:
    """A terminal of a size, and what is typed and said there."""

    def __init__(self, *sizes: tuple[int, int]) -> None:
        self._sizes = list(sizes)
        self.size = SizeOfShell(self._sizes.pop)
        self.said: list[str] = []
        self.notice = self.size.noticing(self.said.append)
        self.type = self.size.typing(lambda typed: (typed, False))


def test_the_size_is_typed_once_at_a_prompt_that_may_come_in_pieces() -> None:
    terminal = Terminal((50, 132))

    replies = [terminal.size(said) for said in (b"\r\nroot@vm", b":~# ", PROMPT, PROMPT)]

    assert replies == [b"", STTY, b"", b""]


def test_a_terminal_without_a_size_types_nothing() -> None:
    assert Terminal((0, 0)).size(PROMPT) == b""


def test_a_shell_that_is_opened_after_another_operator_has_closed_the_first_gets_the_size() -> None:
    terminal = Terminal((50, 132), (24, 80))
    assert terminal.size(PROMPT) == b" stty rows 24 cols 80\r"

    terminal.notice(CLOSED.format(who="User olga"))

    assert len(terminal.said) == 1
    assert terminal.size(b"^C\r\n" + PROMPT) == b"", "the shell that is being closed"
    assert terminal.type(b"x") == (b"x", False)
    assert terminal.size(PROMPT) == b""
    assert terminal.type(b"\r") == (b"\r", False)
    assert [terminal.size(said) for said in (b"\r\n", PROMPT, PROMPT)] == [b"", STTY, b""]


def test_other_notices_and_enter_change_nothing() -> None:
    terminal = Terminal((50, 132))
    terminal.size(PROMPT)

    terminal.notice("... 5 bytes dropped")
    terminal.type(b"\r")

    assert terminal.size(PROMPT) == b""
