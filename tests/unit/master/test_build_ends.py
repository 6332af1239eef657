# SPDX-License-Identifier: GPL-2.0-only
"""Results that builds were stopped with; what it takes to cut one off is in tests/integration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from buildbot.process.build import Build
from buildbot.process.log import Log
from buildbot.process.results import CANCELLED, EXCEPTION, RETRY
from twisted.internet.defer import Deferred, succeed

from latent_libvirt.master import build_ends
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from wrapping import check_it_wraps_nothing, check_it_wraps_once, restore_after_the_test


class ABuild:
    """What is noted of a build; a real one needs a master."""


@pytest.fixture
def unwrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore Buildbot's own methods after the test."""
    methods = (Build, "stopBuild"), (Build, "buildFinished")
    restore_after_the_test(monkeypatch, *methods, mark=(Build, "_latent_libvirt_ends"))


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ([RETRY], RETRY),
        ([RETRY, CANCELLED], CANCELLED),
        ([CANCELLED, RETRY], CANCELLED),
        ([CANCELLED, EXCEPTION], CANCELLED),
        ([EXCEPTION, CANCELLED], EXCEPTION),
    ],
)
def test_the_first_word_counts_and_nobody_s_build_runs_again_once_it_is_not_to(
    words: list[int], result: int
) -> None:
    build = ABuild()

    for word in words:
        build_ends.decide(build, word)

    assert build_ends._end_of(build).results == result


@pytest.mark.usefixtures("unwrapped")
def test_buildbot_is_wrapped_once() -> None:
    check_it_wraps_once(build_ends.install, Build, "stopBuild")


@pytest.mark.usefixtures("unwrapped")
def test_a_buildbot_that_works_in_another_way_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build_ends, "RELIED_ON", ("stopBuildInAnotherWay",))

    check_it_wraps_nothing(build_ends.install, Build, "stopBuild")


def test_our_workers_can_part_with_their_guests() -> None:
    worker = LibvirtLatentWorker("debian-12-1", label="debian-12")

    assert isinstance(worker, build_ends.Parting)
    assert worker.cancel_timeout == 30


@pytest.mark.parametrize(
    ("command", "has_ended"),
    [
        (None, False),
        (SimpleNamespace(rc=None, active=True), False),
        (SimpleNamespace(rc=None, active=False), False),  # its connection was lost
        (SimpleNamespace(rc=0, active=False), True),
        (SimpleNamespace(rc=-1, active=False), True),
    ],
)
def test_a_guest_that_has_ended_its_command_is_not_to_blame_for_a_step_that_goes_on(
    command: Any, *, has_ended: bool
) -> None:
    """A step on paper: a real one ends its command and its logs at almost the same time."""
    assert build_ends._has_ended_its_command(SimpleNamespace(cmd=command)) is has_ended


def test_a_log_that_is_being_finished_does_not_keep_a_build_from_its_end() -> None:
    """Buildbot's own log, whose database does not answer yet."""
    stored: Deferred[None] = Deferred()
    ended: list[Any] = []

    def finish_step(*arguments: Any) -> Deferred[None]:
        ended.append(arguments)
        return succeed(None)

    updates = SimpleNamespace(
        finishLog=lambda _logid: stored,
        compressLog=lambda _logid: succeed(None),
        finishStep=finish_step,
    )
    master: Any = SimpleNamespace(data=SimpleNamespace(updates=updates))
    kept = Log.new(master, "stdio", "h", 3, None)
    step = SimpleNamespace(logs={"stdio": kept}, master=master, stepid=7, _locks_to_acquire=[])
    kept.finish()

    left = Deferred.fromCoroutine(build_ends._leave(step, CANCELLED))

    assert left.called
    assert ended == [(7, CANCELLED, False)]
