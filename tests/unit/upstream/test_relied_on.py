# SPDX-License-Identifier: GPL-2.0-only
"""Whether Buildbot has what is wrapped."""

from __future__ import annotations

from buildbot.process.build import Build
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.upstream import relied_on


def test_what_is_there_is_not_worth_a_line() -> None:
    with capturedLogs() as logged:
        assert relied_on.are_there([(Build, "startBuild")], does="starts builds", otherwise="x")

    assert not logged


def test_what_is_not_there_is_named_with_what_does_not_work_then() -> None:
    methods = [(Build, "startBuild"), (Build, "unknown"), (Build, "neither")]

    with capturedLogs() as logged:
        assert not relied_on.are_there(methods, does="starts builds", otherwise="none starts")

    (line,) = map(formatEvent, logged)
    assert line.startswith("Buildbot ")
    assert line.endswith(
        "starts builds in another way than 4.3 (Build.unknown, Build.neither is not there): "
        "none starts"
    )
