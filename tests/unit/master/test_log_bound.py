# SPDX-License-Identifier: GPL-2.0-only
"""The bound on logs, on Buildbot's own; what they would put into a database is kept in a list."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from buildbot.process.log import Log
from buildbot.process.remotecommand import RemoteCommand
from buildbot.util import subscription  # noqa: F401 - Log needs it, and does not import it
from twisted.internet.defer import DeferredLock, succeed
from twisted.internet.task import Clock

from latent_libvirt.master import log_bound


def a_log(kind: str, *, most: int | None) -> tuple[Any, list[str]]:
    log_bound.install()
    written: list[str] = []

    def append(_logid: int, lines: str) -> Any:
        written.append(lines)
        return succeed(None)

    updates = SimpleNamespace(appendLog=append)
    master = SimpleNamespace(
        data=SimpleNamespace(updates=updates),
        config=SimpleNamespace(logMaxSize=most),
        reactor=Clock(),
    )
    return Log.new(master, "stdio", kind, 1, "utf-8"), written


def test_a_step_that_prints_without_end_fills_its_log_and_no_more() -> None:
    log, written = a_log("s", most=1_000)

    for _ in range(500):
        log.addStdout("y\n" * 100)

    text = "".join(written)
    assert len(text) < 1_200
    assert text.endswith("h(this log has 1,000 bytes, logMaxSize: the rest is left out)\n")
    assert all(line[:1] in "oh" for line in text.splitlines())


@pytest.mark.parametrize("kind", ["t", "h"])
def test_other_logs_are_bounded_too(kind: str) -> None:
    log, written = a_log(kind, most=100)

    for _ in range(50):
        log.addContent("é" * 30 + "\n")

    assert len("".join(written)) < 200
    assert written[-1].endswith("(this log has 100 bytes, logMaxSize: the rest is left out)\n")


def test_without_a_word_in_the_configuration_there_is_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The real one takes half a minute to fill.
    monkeypatch.setattr(log_bound, "DEFAULT", 1_000_000)
    log, written = a_log("s", most=None)

    for _ in range(8):
        log.addStdout("y\n" * 100_000)

    assert log_bound.DEFAULT * 0.9 < len("".join(written)) < log_bound.DEFAULT * 1.01


def test_what_is_within_the_bound_is_left_alone() -> None:
    log, written = a_log("s", most=1_000)

    log.addStdout("one\ntwo\n")

    assert written == ["oone\notwo\n"]


def test_thousands_of_updates_that_wait_for_a_log_that_is_full_end_one_by_one() -> None:
    log, _written = a_log("s", most=10)
    log.addStdout("much more than ten bytes\n")
    lock = DeferredLock()
    lock.acquire()
    ended = [lock.run(log.addStdout, "y\n") for _ in range(5_000)]

    lock.release()
    for _ in range(len(ended)):
        log.master.reactor.advance(0)

    assert all(each.called for each in ended)


def a_command(*, most: int) -> tuple[Any, list[Any]]:
    log_bound.install()
    command: Any = RemoteCommand("shell", {}, collectStdout=True)
    ended: list[Any] = []
    master = SimpleNamespace(config=SimpleNamespace(logMaxSize=most))
    command.worker = SimpleNamespace(master=master, messageReceivedFromWorker=lambda: None)
    command.active = True
    command._finished = ended.append
    return command, ended


def test_output_that_a_step_collects_has_the_same_bound_and_its_command_ends() -> None:
    command, ended = a_command(most=1_000)

    for _ in range(20):
        command.remote_update([({"stdout": "y\n" * 100}, 0)])

    assert len(command.stdout) <= 1_000
    (failure,) = ended
    assert "collects more than 1,000 bytes of stdout" in str(failure.value)


def test_logs_that_a_step_does_not_have_leave_nothing_behind() -> None:
    command, ended = a_command(most=1_000)

    for number in range(100):
        command.remote_update([({"log": (f"log-{number}", "x")}, 0)])

    assert len(command._line_boundary_finders) <= 3
    assert ended == []
