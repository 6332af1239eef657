# SPDX-License-Identifier: GPL-2.0-only
"""Results that builds were stopped with; what it takes to cut one off is in tests/integration."""

from __future__ import annotations

import pytest
from buildbot.process.build import Build
from buildbot.process.results import CANCELLED, EXCEPTION, RETRY

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
