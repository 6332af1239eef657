# SPDX-License-Identifier: GPL-2.0-only
"""Bytes between an operator and a master, with real descriptors."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from latent_libvirt.cli.terminals.console_relay import (
    End,
    Operator,
    Relay,
)
from latent_libvirt.cli.terminals.terminal import until_detached
from latent_libvirt.control.frames import Frame, Kind
from latent_libvirt.control.messages import ControlError

LONG = 60.0


class Conversation:
    """A relay between a master that the test plays, and a keyboard that it types on."""

    def __init__(self, keyboard: int | None) -> None:
        self.master, self._ours = socket.socketpair()
        self.master.settimeout(LONG)
        self._ours.setblocking(False)
        self.seen = b""
        self.notices: list[str] = []
        self.operator = Operator(keyboard, until_detached, self._output, self.notices.append)

    def _output(self, data: bytes) -> None:
        self.seen += data

    def run(self, first: bytes = b"") -> End | str:
        return Relay(self._ours, first, self.operator).run()

    def send(self, *frames: Frame) -> None:
        self.master.sendall(b"".join(map(bytes, frames)))

    def close(self) -> None:
        self.master.close()
        self._ours.close()


@contextmanager
def conversation(keyboard: int | None = None) -> Iterator[Conversation]:
    it = Conversation(keyboard)
    try:
        yield it
    finally:
        it.close()


@pytest.fixture
def keys() -> Iterator[tuple[int, int]]:
    """Give what is read from, and what is typed on."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


OVER = Frame(Kind.END, b"it crashed")


def test_a_session_that_the_master_ends_is_not_said_to_be_the_end_of_the_vm() -> None:
    with conversation() as it:
        it.send(Frame(Kind.CLOSED, b"the recording is full"))

        with pytest.raises(ControlError, match="closed the terminal") as refused:
            it.run()

    assert refused.value.details == "the recording is full."


def test_the_end_of_the_vm_ends_it_with_the_reason() -> None:
    with conversation() as it:
        it.send(Frame(Kind.OUTPUT, b"hello "), Frame(Kind.NOTICE, b"5 bytes dropped"))
        it.send(Frame(Kind.OUTPUT, b"world"), OVER)

        assert it.run() == "it crashed"
        assert (it.seen, it.notices) == (b"hello world", ["5 bytes dropped"])


def test_what_was_read_with_the_answer_comes_first() -> None:
    with conversation() as it:
        assert it.run(bytes(Frame(Kind.OUTPUT, b"tail")) + bytes(OVER)) == "it crashed"
        assert it.seen == b"tail"


def test_detaching_sends_what_was_typed_before_it(keys: tuple[int, int]) -> None:
    keyboard, typing = keys
    os.write(typing, b"ls\r\x1d")

    with conversation(keyboard) as it:
        assert it.run() is End.DETACHED
        assert it.master.recv(99) == b"ls\r"


@pytest.mark.parametrize("said", [b"", b"not a frame at all"])
def test_a_master_that_goes_is_an_error(said: bytes) -> None:
    with conversation() as it:
        it.master.sendall(said)
        it.master.close()

        with pytest.raises(ControlError, match="has closed the console"):
            it.run()


def test_much_input_waits_for_a_master_that_takes_its_time(tmp_path: Path) -> None:
    much = b"y" * 3_000_000
    (tmp_path / "input").write_bytes(much)
    got = bytearray()

    def read(master: socket.socket) -> None:
        while len(got) < len(much):
            got.extend(master.recv(10_000))
        master.sendall(bytes(OVER))

    with (tmp_path / "input").open("rb") as file, conversation(file.fileno()) as it:
        it.operator = replace(it.operator, filter=lambda read: (read, False))
        reader = threading.Thread(target=read, args=(it.master,))
        reader.start()

        assert it.run() == "it crashed"
        reader.join()

    assert got == much


def test_after_the_input_it_may_stop_when_nothing_comes(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"uname\n")
    with (tmp_path / "input").open("rb") as file, conversation(file.fileno()) as it:
        it.operator = replace(it.operator, filter=lambda read: (read, False), quiet_for=0.05)
        it.send(Frame(Kind.OUTPUT, b"Linux"))

        assert it.run() is End.QUIET
        assert it.seen == b"Linux"
