# SPDX-License-Identifier: GPL-2.0-only
"""The command at a terminal and in a pipe, against a master whose VM is a parrot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from buildmaster import wait_for
from latent_libvirt.control.console import ConsoleSession, Vm
from latent_libvirt.control.messages import ConsoleRequest, Request
from latent_libvirt.control.server import ControlServer
from latent_libvirt.host.guests.guest import Guest
from latent_libvirt.status.names import VmNames
from typist import Typist, typing_into

COMMAND = Path(sys.executable).with_name("latent-libvirt")
DEADLINE = 120.0


PROMPT = b"root@vm:~# "


class Parrot:
    """A VM that says in capitals what is typed, and ends with "bye"; Enter alone is a prompt."""

    def __init__(self) -> None:
        self.guest = Guest("latent-libvirt-1", reactor=reactor)
        self.guest.console.received(b"\x1b[31mpretty\x1b[0m\r\n")
        self.typed = b""

    async def write_to_console(self, data: bytes) -> None:
        self.typed += data
        if data == b"\r":
            self.guest.console.received(PROMPT)
            return
        self.guest.console.received(data.upper().replace(b"\n", b"\r\n"))
        if b"bye" in data:
            self.guest.console.finish("the parrot has flown")


@pytest_twisted.async_yield_fixture
async def parrot(tmp_path: Path) -> AsyncIterator[Parrot]:
    parrot = Parrot()

    async def answer(request: Request) -> Any:
        assert isinstance(request, ConsoleRequest)
        vm = Vm(VmNames("latent-libvirt-1", "alpha", "aa"), parrot)
        return ConsoleSession(vm, read_only=request.read_only)

    server = ControlServer(tmp_path / "pool.sock", answer, reactor=reactor)
    await server.start()
    yield parrot
    await server.stop()


Run = Callable[..., Awaitable[Any]]


def in_thread(function: Callable[[], Any]) -> Deferred[Any]:
    return deferToThread(function).addTimeout(DEADLINE, reactor)


@pytest.fixture
def pipe(tmp_path: Path) -> Run:
    """Run the command with an input, to its end."""

    def run(typed: bytes, *arguments: str) -> Deferred[Any]:
        return in_thread(
            lambda: subprocess.run(
                [COMMAND, "console", "aa", *arguments],
                cwd=tmp_path,
                input=typed,
                capture_output=True,
                timeout=DEADLINE,
                check=False,
            )
        )

    return run


@pytest.fixture
def at_a_terminal(tmp_path: Path) -> Run:
    """Let somebody use the command at a terminal."""

    def use(somebody: Callable[[Typist], None], *arguments: str) -> Deferred[Any]:
        def run() -> None:
            with typing_into([COMMAND, "console", "aa", *arguments], cwd=tmp_path) as typist:
                somebody(typist)
                assert typist.process.wait(DEADLINE) == 0
                assert typist.modes() == typist.first_modes

        return in_thread(run)

    return use


@pytest_twisted.ensureDeferred
async def test_in_a_pipe_the_output_is_the_guest_s_alone(parrot: Parrot, pipe: Run) -> None:
    result = await pipe(b"hello\n\x1dbye\n")

    assert result.returncode == 0
    assert result.stdout == b"\x1b[31mpretty\x1b[0m\r\nHELLO\r\n\x1dBYE\r\n"
    assert result.stderr.decode().splitlines() == [
        "Connected to the console of latent-libvirt-1@alpha (id aa).",
        "",
        "The VM is gone: the parrot has flown.",
    ]


@pytest_twisted.ensureDeferred
async def test_plain_text_has_nothing_for_a_terminal(parrot: Parrot, pipe: Run) -> None:
    result = await pipe(b"bye\n", "--plain")

    assert result.stdout == b"pretty\nBYE\n"


@pytest_twisted.ensureDeferred
async def test_who_only_watches_sends_nothing_of_the_input(parrot: Parrot, pipe: Run) -> None:
    running = pipe(b"bye\n", "--read-only")
    while not parrot.guest.console._watches:
        await deferLater(reactor, 0.05, lambda: None)
    parrot.guest.console.finish("over")
    result = await running

    assert result.stdout == b"\x1b[31mpretty\x1b[0m\r\n"


@pytest_twisted.ensureDeferred
async def test_a_script_may_stop_when_nothing_comes(parrot: Parrot, pipe: Run) -> None:
    result = await pipe(b"hello\n", "--quiet-for", "3")  # in which a busy machine answers

    assert (result.returncode, result.stdout[-7:]) == (0, b"HELLO\r\n")
    assert result.stderr.endswith(b"Nothing came any more.\n")


@pytest_twisted.ensureDeferred
async def test_at_a_terminal_each_key_goes_to_the_guest_and_one_detaches(
    parrot: Parrot, at_a_terminal: Run
) -> None:
    def somebody(typist: Typist) -> None:
        typist.read_until("id aa); Ctrl-] detaches")
        typist.read_until("pretty")
        typist.type("x\x03y")
        typist.read_until("X\x03Y")
        typist.type("\x1d")
        typist.read_until("Detached.\r\n")

    await at_a_terminal(somebody)


@pytest_twisted.ensureDeferred
async def test_at_a_terminal_too_the_end_of_the_vm_is_told(
    parrot: Parrot, at_a_terminal: Run
) -> None:
    def somebody(typist: Typist) -> None:
        typist.read_until("pretty")
        typist.type("bye\r")
        typist.read_until("The VM is gone: the parrot has flown.\r\n")

    await at_a_terminal(somebody)


@pytest_twisted.ensureDeferred
async def test_who_only_watches_leaves_with_ctrl_c(parrot: Parrot, at_a_terminal: Run) -> None:
    def somebody(typist: Typist) -> None:
        typist.read_until("what you type is ignored; Ctrl-] detaches")
        typist.read_until("pretty")
        typist.type("bye\x03")
        typist.read_until("Detached.\r\n")

    await at_a_terminal(somebody, "--read-only")


@pytest_twisted.ensureDeferred
async def test_a_shell_opens_at_once_has_the_terminals_size_and_ends_with_what_it_runs(
    parrot: Parrot, tmp_path: Path
) -> None:
    def somebody() -> None:
        with typing_into([COMMAND, "shell", "aa"], cwd=tmp_path, size=(50, 132)) as typist:
            typist.read_until("id aa); Ctrl-] leaves")
            typist.read_until("Ctrl-] closes it for all.")
            typist.read_until(PROMPT.decode())
            typist.read_until(" STTY ROWS 50 COLS 132")
            typist.type("x")
            typist.read_until("X")
            typist.type("\x1d")
            typist.read_until("The shell is closed.")
            assert typist.process.wait(DEADLINE) == 0
            assert typist.modes() == typist.first_modes
        wait_for("the end of the shell", lambda: parrot.typed.endswith(b"\x04"))

    await in_thread(somebody)
    assert (parrot.typed[:1], parrot.typed[-3:]) == (b"\r", b"x\x03\x04")


@pytest_twisted.ensureDeferred
async def test_a_shell_is_for_terminals(parrot: Parrot, tmp_path: Path) -> None:
    result = await in_thread(
        lambda: subprocess.run(
            [COMMAND, "shell", "aa"],
            cwd=tmp_path,
            input=b"",
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
    )

    assert result.returncode == 1
    assert b"latent-libvirt console aa" in result.stderr
