# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt shell``: a shell in a VM of a running master's pool, at a terminal.

It goes through the serial console. So it needs neither a network nor sshd, and no password.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from latent_libvirt.advice import command, listed
from latent_libvirt.cli.holding.asker import asker
from latent_libvirt.cli.master import socket_option
from latent_libvirt.cli.terminals.console_relay import End, Operator, Relay
from latent_libvirt.cli.terminals.terminal import given_away, until_detached
from latent_libvirt.control.client import Client
from latent_libvirt.control.frames import ANOTHER, CLOSE
from latent_libvirt.control.messages import ConsoleOpened, ConsoleRequest
from latent_libvirt.errors import ConfigurationError

_Filter = Callable[[bytes], tuple[bytes, bool]]

_KEYBOARD: Final = 0

OPEN: Final = b"\r"
"""What makes the guests of our images open a shell."""

SHARED: Final = (
    "All terminals of this VM share the shell, also those in browsers. Ctrl-] closes it for all."
)

_PROMPT: Final = re.compile(rb"[#$](?:\x1b\[[0-9;?]*[A-Za-z])* $")
_TAIL: Final = 64


@click.command(short_help="Open a shell in a VM.")
@click.argument("name")
@socket_option
def shell(name: str, where: Path) -> None:
    """Open a shell in the VM NAME, which runs a build or is held.

    NAME is the VM's worker, job (BUILDER/NUMBER), domain, DOMAIN@HOST or id. Ctrl-] leaves. It
    presses Ctrl-C and Ctrl-D before, and what ignores them stays. All terminals of a VM share its
    shell, also those in browsers, and Ctrl-] closes the shell for all. The shell has the size that
    the terminal has when the shell opens.

    The shell is on the VM's serial console, and is that of root in VMs of our images. Other images
    may ask for a login. 'latent-libvirt console' also works in a pipe, and leaves the shell open.
    """
    if not os.isatty(_KEYBOARD):
        raise ConfigurationError(
            "a shell needs a terminal, and standard input is none",
            resolution="In a pipe, use:" + listed(command("latent-libvirt", "console", name)),
        )
    with Client(where) as client:
        opened = client.ask(ConsoleRequest(name, user=asker()), ConsoleOpened)
        _say(f"Connected to {opened.vm}; Ctrl-] leaves.\n{SHARED}\n")
        size = SizeOfShell(_size)
        operator = Operator(
            keyboard=_KEYBOARD,
            filter=size.typing(_until_left),
            output=_show,
            notice=size.noticing(lambda text: _say(f"\r\n[{text}]\r\n")),
            first=OPEN,
            reply=size,
        )
        with given_away(_KEYBOARD, read_only=False):
            ended = Relay(*client.converse(), operator).run()
    _say(
        "\r\nThe shell is closed.\n" if ended is End.DETACHED else f"\r\nThe VM is gone: {ended}.\n"
    )


class SizeOfShell:
    """Replies to the first prompt of a shell with the command that sets the terminal's size.

    Another terminal may close the shell. Then Enter opens another one, which gets the size, too.

    :param size: returns lines and columns; zeros if they are not known.
    """

    def __init__(self, size: Callable[[], tuple[int, int]]) -> None:
        self._size = size
        self._tail = b""
        self._is_closed = False
        self._is_awaited = True

    def __call__(self, output: bytes) -> bytes:
        """Return what is typed for *output*."""
        if not self._is_awaited:
            return b""
        self._tail = (self._tail + output)[-_TAIL:]
        if not _PROMPT.search(self._tail):
            return b""
        self._is_awaited = False
        size = self._size()
        # With the space, most shells leave it out of their history.
        return b"" if 0 in size else b" stty rows %d cols %d\r" % size

    def noticing(self, notice: Callable[[str], None]) -> Callable[[str], None]:
        """Return a function that does the same as *notice*, and sees when the shell is closed."""

        def seen(text: str) -> None:
            self._is_closed |= text.endswith(ANOTHER)
            notice(text)

        return seen

    def typing(self, taken: _Filter) -> _Filter:
        """Return a function that does the same as *taken*, and sees when a shell is opened."""

        def seen(typed: bytes) -> tuple[bytes, bool]:
            if self._is_closed and OPEN in typed:
                self._tail, self._is_closed, self._is_awaited = b"", False, True
            return taken(typed)

        return seen


def _size() -> tuple[int, int]:
    try:
        columns, lines = os.get_terminal_size(_KEYBOARD)
    except OSError:
        return 0, 0
    return lines, columns


def _until_left(typed: bytes) -> tuple[bytes, bool]:
    told, leaves = until_detached(typed)
    return told + (CLOSE if leaves else b""), leaves


def _show(output: bytes) -> None:
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()


def _say(text: str) -> None:
    """Print text for the operator; standard output is the guest's."""
    click.echo(text, err=True, nl=False)
