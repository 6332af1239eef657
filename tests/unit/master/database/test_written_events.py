# SPDX-License-Identifier: GPL-2.0-only
"""What is remembered of builds, steps and logs between two changes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from latent_libvirt.master.database import written_events
from latent_libvirt.master.database.written_events import KINDS, Kind, Memory, unknown
from latent_libvirt.master.workers import connections

ROW = {"stepid": 1, "state_string": "pending", "complete": False}


@pytest.fixture
def memory() -> Memory:
    memory = Memory()
    memory.end_read(1, memory.begin_read(1), ROW)
    return memory


@pytest.mark.parametrize("kind", [*KINDS, connections.KIND], ids=lambda kind: kind.key)
def test_all_functions_of_this_buildbot_that_change_a_row_are_known(kind: Kind) -> None:
    assert unknown(kind) == set()


def test_a_function_that_buildbot_gets_later_is_seen() -> None:
    class Later:
        def setStepState(self) -> None:  # noqa: N802
            pass

    assert unknown(KINDS[1]._replace(connector=Later)) == {"setStepState"}


def test_a_change_is_part_of_what_is_remembered(memory: Memory) -> None:
    memory.change(1, {"state_string": "going"})
    assert memory.get(1) == {**ROW, "state_string": "going"}
    assert ROW["state_string"] == "pending"


def test_a_row_with_an_unknown_change_is_forgotten(memory: Memory) -> None:
    memory.change(1, None)
    assert memory.get(1) is None


def test_a_change_during_a_read_leaves_nothing_old() -> None:
    memory = Memory()
    read = memory.begin_read(1)
    memory.change(1, {"state_string": "going"})
    memory.end_read(1, read, ROW)
    assert memory.get(1) is None


def test_the_first_of_two_reads_is_not_remembered() -> None:
    memory = Memory()
    first, second = memory.begin_read(1), memory.begin_read(1)
    memory.end_read(1, first, {**ROW, "state_string": "old"})
    memory.end_read(1, second, ROW)
    assert memory.get(1) == ROW


class Unread:
    """A master whose database fails just then, which no real one can be made to."""

    def __init__(self) -> None:
        self.data = self

    def get(self, _path: tuple[object, ...]) -> Deferred[None]:
        return fail(RuntimeError("the test wants so"))


@pytest.mark.parametrize("read", ["of a step", "of a worker"])
def test_a_read_that_fails_leaves_nothing(read: str) -> None:
    master: Any = Unread()
    steps = SimpleNamespace(master=master, plural="steps")
    kind = KINDS[1] if read == "of a step" else connections.KIND
    event = (
        written_events._row(steps, kind, 1)
        if read == "of a step"
        else connections._announce(master, 1, "connected", {})
    )
    errors: list[Any] = []

    Deferred.fromCoroutine(event).addErrback(errors.append)

    assert errors
    assert errors[0].check(RuntimeError)
    assert written_events.memory_of(master, kind)._reads == {}


@pytest.mark.parametrize("found", [None, {**ROW, "complete": True}])
def test_what_has_ended_is_not_remembered(found: dict[str, Any] | None) -> None:
    memory = Memory()
    memory.end_read(1, memory.begin_read(1), found)
    assert memory.get(1) is None


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written_events, "REMEMBERED", 2)
    memory = Memory()
    for row in (1, 2, 3):
        memory.end_read(row, memory.begin_read(row), ROW)
    assert [memory.get(row) for row in (1, 2, 3)] == [None, ROW, ROW]


@pytest.mark.parametrize("outcome", [succeed(None), fail(RuntimeError("the test wants so"))])
def test_a_write_that_fails_is_forgotten_and_fails(outcome: Deferred[None]) -> None:
    class Master:
        pass

    class Connector:
        master = Master()

        def setStepStateString(self, stepid: int, state_string: str) -> Deferred[None]:  # noqa: N802
            return outcome

    connector: Any = Connector()
    kind = KINDS[1]
    memory = written_events.memory_of(connector.master, kind)
    memory.end_read(1, memory.begin_read(1), ROW)
    write = written_events._noted(
        kind, Connector.setStepStateString, kind.changes["setStepStateString"]
    )
    errors: list[object] = []

    write(connector, 1, state_string="going").addErrback(errors.append)

    failed = bool(errors)
    assert memory.get(1) == (None if failed else {**ROW, "state_string": "going"})
