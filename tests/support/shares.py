# SPDX-License-Identifier: GPL-2.0-only
"""Shares of the test files: each worker of pytest-xdist collects a share, and runs it.

xdist's schedulers have each worker collect all tests, to choose among them while they run. Unit
tests are so short that this would be a quarter of their time. Here a worker leaves the files of
the others alone, so that nothing is collected twice, and nothing is chosen. The files are shared
out by size, which says well enough how long their tests take together.

``pytest --numprocesses=2 --shares tests/unit`` does that.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import EachScheduling


def install(session: pytest.Session) -> None:
    """Let workers have shares, in this process: the one that has workers, or one of them."""
    config = session.config
    workerinput = getattr(config, "workerinput", None)
    if workerinput is None:
        config.pluginmanager.register(Controller(session))
    else:
        shares = shared_out(files_of(config.args), workerinput["workercount"])
        config.pluginmanager.register(Worker(shares[workerinput["share"]]))


def files_of(arguments: Iterable[str]) -> set[Path]:
    """Return the test files that pytest's *arguments* stand for."""
    paths = [Path(argument.partition("::")[0]).absolute() for argument in arguments]
    below = [path.rglob("test_*.py") if path.is_dir() else [path] for path in paths]
    return {file for files in below for file in files}


def shared_out(files: Iterable[Path], count: int) -> list[set[Path]]:
    """Return *count* shares of about the same size, in which each of *files* is once."""
    sizes = {file: file.stat().st_size for file in files}
    shares: list[set[Path]] = [set() for _ in range(count)]
    smallest = [(0, number) for number in range(count)]
    for file in sorted(sizes, key=lambda file: (-sizes[file], file)):
        size, number = heapq.heappop(smallest)
        shares[number].add(file)
        heapq.heappush(smallest, (size + sizes[file], number))
    return shares


class Worker:
    """What a worker leaves to the others.

    :param share: the files whose tests it runs.
    """

    def __init__(self, share: set[Path]) -> None:
        self._share = share

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Leave a file of another share alone."""
        is_other = collection_path.suffix == ".py" and collection_path not in self._share
        return True if is_other and collection_path.name.startswith("test_") else None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the tests of a file that was named, which pytest never ignores."""
        items[:] = [item for item in items if item.path in self._share]


class Controller:
    """Which worker has which share: one that takes the place of another has the other's."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._shares: list[int] = []
        self._begun = 0

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker that begins the next share."""
        if not self._shares:
            self._shares.append(self._begun)
            self._begun += 1
        node.workerinput["share"] = self._shares.pop()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take the share of a worker that has ended back."""
        self._shares.append(node.workerinput["share"])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> EachScheduling:
        """Let each worker run what it has collected."""
        return _Scheduling(config, log, self._session)


class _Scheduling(EachScheduling):  # type: ignore[misc]
    """Has workers run all that they have collected. The tests are those of all workers together."""

    def __init__(self, config: pytest.Config, log: Any, session: pytest.Session) -> None:
        super().__init__(config, log)
        self._session = session

    def schedule(self) -> None:
        """Let the workers begin."""
        collections: Iterable[Sequence[str]] = self.node2collection.values()
        self._session.testscollected = sum(len(collection) for collection in collections)
        super().schedule()
