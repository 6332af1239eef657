# SPDX-License-Identifier: GPL-2.0-only
"""The standing of a worker with its master."""

from __future__ import annotations

import pytest
from buildbot.process import build as buildbots_build
from buildbot.worker.latent import AbstractLatentWorker

from latent_libvirt.master.workers.worker import LibvirtLatentWorker


@pytest.mark.parametrize("who", [buildbots_build.__file__, "master.cfg"])
def test_only_what_buildbots_own_builds_think_of_a_worker_is_taken_lightly(
    monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    worker = LibvirtLatentWorker("debian-12-1", label="debian-12")
    rests: list[object] = []

    def rest(self: object) -> None:
        rests.append(self)

    monkeypatch.setattr(AbstractLatentWorker, "putInQuarantine", rest)

    exec(compile("worker.putInQuarantine()", who, "exec"), {"worker": worker})

    assert rests == ([worker] if who == "master.cfg" else [])


def test_a_pause_is_written_when_it_changes_and_not_at_each_attach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = LibvirtLatentWorker("debian-12-1", label="debian-12")
    written: list[bool] = []
    monkeypatch.setattr(
        AbstractLatentWorker, "_update_paused", lambda self: written.append(self._paused)
    )

    worker._update_paused()
    worker._update_paused()
    worker._paused = True
    worker._update_paused()

    assert written == [False, True]
