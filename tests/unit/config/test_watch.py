# SPDX-License-Identifier: GPL-2.0-only
"""A file that is saved while somebody looks, in the ways that editors do that."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from latent_libvirt.config import InvalidConfiguration, PoolConfig, watch
from latent_libvirt.config.watch import LiveFile

DEADLINE = 60.0

POOL = """
master: {{max_vms: {max_vms}}}
hosts:
  here: {{uri: "test:///default", slots: 4, storage_pool: default}}
labels:
  small: {{image: debian-12}}
"""


class Watched:
    """A file, and what was told of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.save(1)
        self._waiting: Deferred[PoolConfig | InvalidConfiguration] = Deferred()
        self.live = LiveFile(str(path), applied=self._tell, refused=self._tell, reactor=reactor)

    def save(self, max_vms: int) -> None:
        self.path.write_text(POOL.format(max_vms=max_vms))

    async def told(self) -> PoolConfig | InvalidConfiguration:
        """Wait for what is told next."""
        return await self._waiting.addTimeout(DEADLINE, reactor)

    def _tell(self, what: PoolConfig | InvalidConfiguration) -> None:
        waiting, self._waiting = self._waiting, Deferred()
        waiting.callback(what)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(watch, "INTERVAL", 0.05)
    watched = Watched(tmp_path / "pool.yaml")
    watched.live.start()
    yield watched
    watched.live.stop()


def replace(watched: Watched) -> None:
    new = watched.path.with_suffix(".new")
    new.write_text(POOL.format(max_vms=7))
    new.rename(watched.path)


SAVES: dict[str, Callable[[Watched], None]] = {
    "written in place": lambda watched: watched.save(7),
    "replaced by another file": replace,
}


@pytest.mark.parametrize("how", SAVES)
@pytest_twisted.ensureDeferred
async def test_what_is_saved_is_told(watched: Watched, how: str) -> None:
    first = await watched.told()

    SAVES[how](watched)
    second = await watched.told()

    assert isinstance(first, PoolConfig)
    assert isinstance(second, PoolConfig)
    assert (first.master.max_vms, second.master.max_vms) == (1, 7)


@pytest_twisted.ensureDeferred
async def test_what_is_wrong_is_told_once_and_then_what_is_right_again(watched: Watched) -> None:
    await watched.told()

    watched.path.write_text("master: {max_vms: many}\n")
    wrong = await watched.told()
    watched.save(2)
    right = await watched.told()

    assert isinstance(wrong, InvalidConfiguration)
    assert isinstance(right, PoolConfig)


@pytest_twisted.ensureDeferred
async def test_a_file_that_is_gone_is_told_too(watched: Watched) -> None:
    await watched.told()

    watched.path.unlink()

    assert isinstance(await watched.told(), InvalidConfiguration)


@pytest_twisted.ensureDeferred
async def test_a_change_that_leaves_size_inode_and_time_as_they_were_is_told(
    watched: Watched,
) -> None:
    await watched.told()
    before = watched.path.stat()

    with watched.path.open("r+b") as file:
        file.write(POOL.format(max_vms=7).encode())
        file.flush()
        os.utime(watched.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = await watched.told()

    after = watched.path.stat()
    assert (before.st_mtime_ns, before.st_size, before.st_ino) == (
        after.st_mtime_ns,
        after.st_size,
        after.st_ino,
    )
    assert isinstance(second, PoolConfig)
    assert second.master.max_vms == 7


@pytest_twisted.ensureDeferred
async def test_a_file_that_becomes_a_fifo_is_refused_and_holds_up_nothing(
    watched: Watched,
) -> None:
    await watched.told()

    watched.path.unlink()
    os.mkfifo(watched.path)

    assert isinstance(await watched.told(), InvalidConfiguration)
    watched.path.unlink()
    watched.save(3)
    assert isinstance(await watched.told(), PoolConfig)
