# SPDX-License-Identifier: GPL-2.0-only
"""Connecting to what answers, refuses, or says nothing for ever."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from latent_libvirt.errors import HostError
from latent_libvirt.host.libvirtd import (
    event_loop,
    opening,
)
from latent_libvirt.host.libvirtd.errand import visiting

DEADLINE = 60.0


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[str]:
    """Give the URI of a host that accepts connections, and nothing else."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield f"qemu+unix:///session?socket={path}"


@pytest.fixture
def absent(tmp_path: Path) -> str:
    """Give the URI of a host that is not there."""
    return f"qemu+unix:///session?socket={tmp_path}/none"


class Late:
    """A connection that comes when it is let; notes that it is closed."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.closed = threading.Event()

    def connect(self) -> Late:
        self.let.wait(DEADLINE)
        return self

    def unregisterCloseCallback(self) -> None:  # noqa: N802 - as libvirt calls it
        raise libvirt.libvirtError("none is registered")

    def close(self) -> None:
        self.closed.set()


def test_what_answers_is_connected() -> None:
    connection = opening.within(DEADLINE, lambda: libvirt.open("test:///default"))

    assert connection.getURI() == "test:///default"
    opening.close(connection)


def test_what_refuses_says_why(absent: str) -> None:
    with pytest.raises(libvirt.libvirtError, match="Failed to connect socket"):
        opening.within(DEADLINE, lambda: libvirt.open(absent))


def test_what_says_nothing_is_given_up(silent: str) -> None:
    with pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"):
        opening.within(0.2, lambda: libvirt.open(silent))


def test_an_answer_that_comes_too_late_is_closed() -> None:
    late = Late()

    with pytest.raises(TimeoutError):
        opening.within(0.01, late.connect)
    late.let.set()

    assert late.closed.wait(DEADLINE)


def test_a_connection_with_callbacks_is_closed_whole() -> None:
    event_loop.ensure_running()
    connection = libvirt.open("test:///default")
    lifecycle = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
    connection.domainEventRegisterAny(None, lifecycle, lambda *_: None, None)

    opening.close(connection)

    assert connection.domainEventCallbackID == {}


def test_a_rehearsal_says_that_it_went_well_or_why_not(absent: str) -> None:
    assert opening.rehearse("test:///default", seconds=DEADLINE) == ""
    assert "Failed to connect socket" in opening.rehearse(absent, seconds=DEADLINE)


def test_a_rehearsal_that_hangs_is_ended(silent: str) -> None:
    assert opening.rehearse(silent, seconds=0.2) == "no answer within 0.2 s"


def test_a_visit_tells_which_host_does_not_answer(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "OPEN_TIMEOUT", 0.2)

    with pytest.raises(HostError) as caught, visiting(silent):
        pass

    assert caught.value.brief == f"libvirt at {silent} refused"
    assert caught.value.details == "no answer within 0.2 s"


def test_a_reason_that_is_no_text_is_told_as_any_other(tmp_path: Path) -> None:
    description = tmp_path / "host.xml"
    description.write_bytes(b"<node>\xca\xff</node>")  # libvirt quotes it in its refusal
    with pytest.raises(HostError, match="no text"), visiting(f"test://{description}"):
        pass
    assert "codec" in opening.rehearse(f"test://{description}", seconds=DEADLINE)
