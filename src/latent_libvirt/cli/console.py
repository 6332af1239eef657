# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt console``: the serial console of a VM of a running master's pool."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from latent_libvirt.cli.holding.asker import asker
from latent_libvirt.cli.master import socket_option
from latent_libvirt.cli.numbers import Seconds
from latent_libvirt.cli.terminals.console_relay import (
    End,
    Operator,
    Relay,
)
from latent_libvirt.cli.terminals.terminal import given_away, plain_text, until_detached
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import ConsoleOpened, ConsoleRequest

_KEYBOARD = 0
"""Standard input."""


@click.command(short_help="Open the serial console of a VM.")
@click.argument("name")
@socket_option
@click.option("--read-only", is_flag=True, help="Only watch; type nothing.")
@click.option("--plain", is_flag=True, help="Print text only, without control sequences.")
@click.option(
    "--quiet-for",
    type=Seconds(min=0, min_open=True),
    metavar="SECONDS",
    help="After the end of the input, stop when no output has come for that time.",
)
def console(
    name: str, where: Path, *, read_only: bool, plain: bool, quiet_for: float | None
) -> None:
    """Open the serial console of the VM NAME. Prints its last output, then new output.

    NAME is the VM's worker, job (BUILDER/NUMBER), domain, DOMAIN@HOST or id. Ctrl-] detaches,
    and the VM goes on. In a VM of our images, Enter opens a root shell.

    Input from a pipe or a file is typed as it comes. Standard output gets the console's output
    until the VM ends.
    """
    with Client(where) as client:
        opened = client.ask(ConsoleRequest(name, read_only, asker()), ConsoleOpened)
        side: _Side = _Terminal(read_only) if os.isatty(_KEYBOARD) else _Pipe(read_only)
        _say(f"Connected to the console of {opened.vm}{side.advice}.")
        made_of = plain_text(side.line_end) if plain else _unchanged
        operator = Operator(
            keyboard=side.keyboard,
            filter=side.filter,
            output=_output(made_of),
            notice=lambda text: _say(f"{side.line_end}[{text}]", side.line_end),
            quiet_for=quiet_for,
        )
        with side.taken():
            ended = _run(Relay(*client.converse(), operator))
    _say(f"{side.line_end}{_farewell(ended)}")


class _Terminal:
    """An operator who presses keys."""

    keyboard: int | None = _KEYBOARD
    line_end = "\r\n"

    def __init__(self, read_only: bool) -> None:  # noqa: FBT001
        self._read_only = read_only
        watched = "; what you type is ignored" if read_only else ""
        self.advice = f"{watched}; Ctrl-] detaches"

    @staticmethod
    def filter(read: bytes) -> tuple[bytes, bool]:
        return until_detached(read)

    def taken(self) -> AbstractContextManager[None]:
        return given_away(_KEYBOARD, read_only=self._read_only)


class _Pipe:
    """A program, or a file."""

    line_end = "\n"
    advice = ""

    def __init__(self, read_only: bool) -> None:  # noqa: FBT001
        self.keyboard = None if read_only else _KEYBOARD

    @staticmethod
    def filter(read: bytes) -> tuple[bytes, bool]:
        return read, False

    @staticmethod
    def taken() -> AbstractContextManager[None]:
        return nullcontext()


_Side = _Terminal | _Pipe


def _run(relay: Relay) -> End | str:
    try:
        return relay.run()
    except KeyboardInterrupt:
        return End.DETACHED


def _output(made_of: Callable[[bytes], bytes]) -> Callable[[bytes], None]:
    output = sys.stdout.buffer

    def write(data: bytes) -> None:
        output.write(made_of(data))
        output.flush()

    return write


def _unchanged(data: bytes) -> bytes:
    return data


def _say(text: str, end: str = "\n") -> None:
    """Print text for the operator; standard output is the guest's."""
    click.echo(f"{text}{end}", err=True, nl=False)


def _farewell(ended: End | str) -> str:
    if ended is End.DETACHED:
        return "Detached."
    if ended is End.QUIET:
        return "Nothing came any more."
    return f"The VM is gone: {ended}."
