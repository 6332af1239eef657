# SPDX-License-Identifier: GPL-2.0-only
"""Builds that Buildbot failed to start: what is wrapped, and only where Buildbot is as expected."""

from __future__ import annotations

from typing import ClassVar

import pytest
from buildbot.process.build import Build
from buildbot.process.builder import Builder

from latent_libvirt.upstream import failed_starts
from wrapping import check_it_wraps_nothing, check_it_wraps_once, restore_after_the_test


@pytest.fixture
def unwrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore Buildbot's own methods after the test."""
    methods = (Build, "startBuild"), (Builder, "maybeStartBuild")
    restore_after_the_test(monkeypatch, *methods, mark=(Build, "_latent_libvirt"))


def test_what_is_relied_on_is_there() -> None:
    assert all(hasattr(owner, name) for owner, name in failed_starts.RELIED_ON)


@pytest.mark.usefixtures("unwrapped")
def test_buildbot_is_wrapped_once() -> None:
    check_it_wraps_once(failed_starts.install, Build, "startBuild")


@pytest.mark.usefixtures("unwrapped")
def test_a_buildbot_that_works_in_another_way_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failed_starts, "RELIED_ON", ((Build, "startBuildInAnotherWay"),))

    check_it_wraps_nothing(failed_starts.install, Build, "startBuild")


class _LongWindedError(Exception):
    text: ClassVar = "what a client has written\n" * 100_000

    def __str__(self) -> str:
        return self.text


def test_a_reason_is_bounded_whatever_the_error_says() -> None:
    error = _LongWindedError()

    assert len(failed_starts._brief(error)) <= 200
    assert "\n" not in failed_starts._brief(error)
    assert len(failed_starts._reason(error)) < 3000
