# SPDX-License-Identifier: GPL-2.0-only
"""The conversation of a VM that waits with its pool."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handshakes import GOOD, conversation, line
from latent_libvirt.guest import protocol
from latent_libvirt.guest.launcher import conversation as conversing
from latent_libvirt.guest.launcher.conversation import await_identity
from latent_libvirt.guest.launcher.errors import ButtonPressed, LauncherError
from latent_libvirt.guest.launcher.identity import Identity
from latent_libvirt.guest.launcher.power_button import PowerButton


def nothing() -> Any:
    raise AssertionError("nobody asked for a rehearsal")


def converse(tmp_path: Path, *pieces: bytes) -> tuple[Identity, int]:
    """Have a conversation in which the host says *pieces*; return how often the guest waited."""
    with conversation() as (channel, host):
        said = 0

        def waiting() -> None:
            nonlocal said
            said += 1

        for piece in pieces:
            host.sendall(piece)
        return await_identity(channel, PowerButton(tmp_path), waiting, nothing), said


def test_a_vm_says_that_it_waits_by_itself(tmp_path: Path) -> None:
    assert converse(tmp_path, line(GOOD))[1] == 1


def test_every_hello_is_answered(tmp_path: Path) -> None:
    got, said = converse(tmp_path, line(protocol.HELLO), line(protocol.HELLO), line(GOOD))

    assert got.name == "debian-12-1"
    assert said == 3


def test_a_vm_that_is_to_be_saved_gets_ready_and_remembers_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversing, "get_ready_to_be_saved", lambda: 1234.5)
    with conversation() as (channel, host):
        host.sendall(line(protocol.SAVE) + line(protocol.HELLO) + line(GOOD))

        got = await_identity(channel, PowerButton(tmp_path), lambda: None, nothing)

        assert json.loads(host.recv(1000)) == {"type": "saveable", "protocol": 1}
        assert got.saved == 1234.5


def test_a_vm_that_was_never_to_be_saved_has_no_siblings(tmp_path: Path) -> None:
    assert converse(tmp_path, line(GOOD))[0].saved is None


def test_a_rehearsal_ends_when_the_identity_comes_or_another_begins(tmp_path: Path) -> None:
    done: list[str] = []

    def begin() -> Any:
        done.append("begin")
        return SimpleNamespace(end=lambda: done.append("end"))

    with conversation() as (channel, host):
        host.sendall(line(protocol.REHEARSE) * 2 + line(GOOD))

        got = await_identity(channel, PowerButton(tmp_path), lambda: None, begin)

    assert got.name == "debian-12-1"
    assert done == ["begin", "end", "begin", "end"]


def test_a_bad_identity_ends_the_conversation(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="identity: user"):
        converse(tmp_path, line({**GOOD, "user": "no such user"}))


def test_a_vm_that_waits_shuts_down_when_its_button_is_pressed(tmp_path: Path) -> None:
    read, write = os.pipe()
    button = PowerButton(tmp_path)
    button.filenos().append(read)
    os.write(write, struct.pack("llHHi", 0, 0, 1, 116, 1))

    with conversation() as (channel, _host), pytest.raises(ButtonPressed):
        await_identity(channel, button, lambda: None, nothing)

    os.close(read)
    os.close(write)
