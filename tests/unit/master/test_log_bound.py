# SPDX-License-Identifier: GPL-2.0-only
"""The bound on logs, on Buildbot's own; what they would put into a database is kept in a list."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from buildbot.process.log import Log
from buildbot.process.remotecommand import RemoteCommand
from buildbot.util import subscription  # noqa: F401 - Log needs it, and does not import it
from twisted.internet.defer import DeferredLock, succeed
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from latent_libvirt.master import log_bound
from latent_libvirt.master.workers.port.broker import GuardedBroker


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


@pytest.mark.parametrize(
    ("update", "times"),
    [
        ({"stdout": "y\n" * 10_000}, 300),
        ({"log": ("file", "y\n" * 10_000)}, 300),
        ({"header": "y\n" * 10_000}, 300),
        ({"rc": 0}, 5_000),
    ],
    ids=["stdout", "log", "header", "rc"],
)
def test_a_guest_that_is_quicker_than_the_database_is_not_read_until_that_has_caught_up(
    update: dict[str, Any], times: int
) -> None:
    command, ended = a_command(most=1_000_000)
    command.collectStdout = False
    clock: Any = Clock()
    broker: Any = GuardedBroker(reactor=clock, isClient=False)
    broker.factory = SimpleNamespace(clientConnectionMade=lambda _broker: None)
    broker.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
    broker.password_was_right()
    command.conn = SimpleNamespace(mind=SimpleNamespace(broker=broker))
    written = partial(deferLater, clock, 1, lambda: None)
    log = SimpleNamespace(
        add_stdout_lines=lambda _lines: written(), add_header_lines=lambda _lines: written()
    )
    command.useLog(log, logfileName="stdio")
    command.useLog(log, logfileName="file")

    for _ in range(times):
        command.remote_update([(update, 0)])
    broker.dataReceived(b"\x01\x80")

    assert broker.transport.producerState == "paused"
    clock.pump([1] * times)
    assert broker.transport.producerState == "producing"
    assert ended == []
    broker.connectionLost(None)


def test_lines_of_a_log_file_are_in_their_log_and_not_kept_besides() -> None:
    command, ended = a_command(most=1_000_000)
    log, written = a_log("s", most=1_000_000)
    command.useLog(log, logfileName="file")

    for number in range(100):
        command.remote_update([({"log": ("file", f"line {number}\n")}, 0)])

    assert "".join(written).count("oline") == 100
    assert not command.updates
    assert ended == []


@pytest.mark.parametrize(
    "update",
    [{"files": ["x" * 30] * 3}, {"anything": 1}, {"stat": {"a": [1, (2, 3)]}}, {"elapsed": 1.5}],
    ids=str,
)
def test_results_that_a_command_keeps_have_a_bound_and_its_command_ends(
    update: dict[str, Any],
) -> None:
    command, ended = a_command(most=10_000)

    for _ in range(1_000):
        command.remote_update([(update, 0)])

    assert len(command.updates[next(iter(update))]) < 200
    assert "more than 10,000 bytes of results" in str(ended[0].value)


@pytest.mark.parametrize("length", [10, 1_000])
def test_the_names_of_results_count_as_what_they_hold(length: int) -> None:
    command, ended = a_command(most=10_000)

    for number in range(1_000):
        command.remote_update([({f"{number:0{length}}": 1}, 0)])

    assert len(command.updates) * (200 + length) < 10_000
    assert "more than 10,000 bytes of results" in str(ended[0].value)


UNKNOWN = {"failure": Failure(ValueError("x" * 1_000)), "object": object()}  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("hidden", UNKNOWN.values(), ids=UNKNOWN)
def test_a_result_whose_size_nobody_knows_ends_its_command_with_the_reason(hidden: Any) -> None:
    command, ended = a_command(most=10_000)

    command.remote_update([({"anything": [{"within": hidden}]}, 0)])

    assert not command.updates
    assert f"sends a {type(hidden).__name__} as a result" in str(ended[0].value)


@pytest.mark.parametrize("update", [{"rc": ["0"]}, {"rc": "0"}, {"elapsed": {}}], ids=str)
def test_a_result_that_is_nonsense_ends_its_command_with_the_reason(update: dict[str, Any]) -> None:
    command, ended = a_command(most=10_000)

    command.remote_update([(update, 0)])
    command.remote_update_msgpack([*update.items()])

    assert command.rc is None
    assert [str(failure.value).split(" is a ")[0] for failure in ended] == [
        f"the worker says that {next(iter(update))!r}"
    ] * 2


def test_results_of_steps_are_kept() -> None:
    command, ended = a_command(most=10_000)

    command.remote_update([({"files": ["a", "b"]}, 0), ({"stat": (1, 2)}, 1), ({"rc": 0}, 2)])

    assert command.updates == {"files": [["a", "b"]], "stat": [(1, 2)]}
    assert command.rc == 0
    assert ended == []
