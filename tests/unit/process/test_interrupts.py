# SPDX-License-Identifier: GPL-2.0-only
"""Signals that end a command: all that Ctrl-C undoes is undone after them, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from latent_libvirt.process import interrupts
from latent_libvirt.process.interrupts import Interrupted


@pytest.fixture(params=interrupts.SIGNALS)
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """Give a signal that would end this process, and let the tests keep their terminal."""
    number: signal.Signals = request.param
    before = signal.signal(number, signal.SIG_DFL)
    yield number
    assert signal.getsignal(number) is signal.SIG_DFL
    signal.signal(number, before)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C be what it is in a command, and not in tests with a reactor."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tests keep their terminal."""
    monkeypatch.setattr(interrupts, "leave_terminal", lambda: None)


def test_a_signal_interrupts_as_ctrl_c_does_and_says_which_it_was(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt, match=number.name) as caught, interrupts.raised():
        signal.raise_signal(number)

    assert interrupts.status_after(caught.value) == 128 + number


def test_ctrl_c_has_the_status_that_shells_give_it() -> None:
    assert interrupts.status_after(KeyboardInterrupt()) == 130


def test_a_second_signal_does_not_end_the_undoing(number: signal.Signals) -> None:
    undone = []

    def undo() -> None:
        for each in interrupts.SIGNALS:
            signal.raise_signal(each)
        undone.append("all")

    with pytest.raises(Interrupted), interrupts.raised(), closing_with(undo):
        signal.raise_signal(number)

    assert undone == ["all"]


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("later", interrupts.SIGNALS)
def test_a_signal_after_ctrl_c_does_not_end_the_undoing_and_a_second_ctrl_c_does(
    later: signal.Signals,
) -> None:
    undone = []

    def undo() -> None:
        signal.raise_signal(later)
        undone.append("some")
        signal.raise_signal(signal.SIGINT)
        undone.append("all")

    with pytest.raises(KeyboardInterrupt) as caught, interrupts.raised(), closing_with(undo):
        signal.raise_signal(signal.SIGINT)

    assert undone == ["some"]
    assert interrupts.status_after(caught.value) == 130


@pytest.mark.usefixtures("ctrl_c")
def test_who_takes_ctrl_c_for_the_usual_end_ends_well() -> None:
    with interrupts.raised(), suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@contextmanager
def closing_with(undo: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    finally:
        undo()


def test_who_takes_an_interrupt_for_the_usual_end_ends_by_the_signal(
    number: signal.Signals,
) -> None:
    with pytest.raises(Interrupted), interrupts.raised(), suppress(KeyboardInterrupt):
        signal.raise_signal(number)


def test_what_nohup_ignores_is_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    with interrupts.raised():
        signal.raise_signal(number)
    signal.signal(number, signal.SIG_DFL)


def test_who_handles_the_signals_in_the_midst_keeps_them(number: signal.Signals) -> None:
    with interrupts.raised():
        signal.signal(number, signal.SIG_IGN)

    assert signal.signal(number, signal.SIG_DFL) is signal.SIG_IGN


# In a process with a reactor: one cannot run twice.
REACTOR = """
import os, signal, sys
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react
from latent_libvirt.deferreds import cancelled_at_shutdown
from latent_libvirt.process.interrupts import ReactorStop

before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

def begin(reactor):
    work = Deferred()
    cancelled_at_shutdown(work, reactor)
    stop.of(reactor)
    for _ in range(2):
        reactor.callLater(0, os.kill, os.getpid(), int(sys.argv[1]))
    return work.addErrback(lambda failure: failure.trap(CancelledError))

try:
    with ReactorStop() as stop:
        react(begin)
except SystemExit:
    after = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    print(repr(stop.interrupt), after == before)
"""


@pytest.mark.parametrize(
    ("number", "interrupt"),
    [
        (signal.SIGINT, "KeyboardInterrupt()"),
        (signal.SIGTERM, "Interrupted('SIGTERM')"),
        (signal.SIGHUP, "Interrupted('SIGHUP')"),
    ],
)
def test_a_reactor_is_stopped_and_what_comes_after_it_can_be_interrupted(
    number: signal.Signals, interrupt: str
) -> None:
    # Of the tests it would inherit that signals are ignored, if it is so.
    program = ["env", "--default-signal=INT,TERM,HUP", sys.executable, "-c", REACTOR]
    ended = subprocess.run(
        [*program, str(int(number))], capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.stdout, ended.stderr) == (f"{interrupt} True\n", "")


# Something that the command has begun, as a build has a workspace.
BEGUN = """
import sys, time
from pathlib import Path
import click
import latent_libvirt.cli.check
from latent_libvirt.cli import main

@click.command
def check():
    begun = Path(sys.argv[1])
    begun.mkdir()
    try:
        print("begun", flush=True)
        time.sleep(600)
    finally:
        begun.rmdir()

latent_libvirt.cli.check.check = check
main(["check"])
"""


@pytest.mark.parametrize(
    ("number", "said"),
    [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")],
)
def test_a_command_undoes_what_it_has_begun_and_says_what_has_ended_it(
    tmp_path: Path, number: signal.Signals, said: str
) -> None:
    begun = tmp_path / "begun"
    program = ["env", "--default-signal=INT,TERM,HUP", sys.executable, "-c", BEGUN, str(begun)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        assert it.stdout.readline() == "begun\n"
        assert begun.exists()
        os.kill(it.pid, number)
        _, errors = it.communicate(timeout=60)

    assert (it.returncode, errors) == (128 + number, f"\nEnded by {said}.\n")
    assert not begun.exists()
