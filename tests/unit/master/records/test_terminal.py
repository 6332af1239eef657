# SPDX-License-Identifier: GPL-2.0-only
"""Recordings of terminals that end together are all kept with the build."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred

from latent_libvirt.master.records import terminal
from latent_libvirt.status.names import BuildRef


class Data:
    """The data of a master with one build: what was set, by its name."""

    def __init__(self) -> None:
        self.updates = self
        self.kept: dict[str, bytes] = {}

    async def get(self, _path: tuple[object, ...]) -> dict[str, int]:
        return {"buildid": 1}

    async def setBuildData(  # noqa: N802 - Buildbot's
        self, _build: int, name: str, value: bytes, _source: str
    ) -> None:
        self.kept[name] = value


def test_two_terminals_that_end_at_once_are_both_kept() -> None:
    data = Data()
    master: Any = SimpleNamespace(data=data)

    for recording in (b"one", b"two"):
        keeping = terminal.keep(master, BuildRef("check", 7, ""), recording)
        assert Deferred.fromCoroutine(keeping).called

    assert sorted(data.kept.values()) == [b"one", b"two"]
