# SPDX-License-Identifier: GPL-2.0-only
"""Shares of the test files: each worker of pytest-xdist collects a share, and runs it.

xdist's schedulers have each worker collect all tests, to choose among them while they run. Unit
tests are so short that this would be a quarter of their time. Here a worker leaves the files of
the others alone, so that nothing is collected twice, and nothing is chosen. The files are shared
out by the seconds that they took in the last run of all of them, and by size if there was none.

``pytest --numprocesses=2 --shares tests/unit`` does that.
"""

from __future__ import annotations

import atexit
import heapq
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import EachScheduling

KEPT = "shares/seconds"
"""The key in pytest's cache of the seconds that each file has taken."""


def install(session: pytest.Session) -> None:
    """Let workers have shares, in this process: the one that has workers, or one of them."""
    config = session.config
    workerinput = getattr(config, "workerinput", None)
    if workerinput is None:
        config.pluginmanager.register(Controller(session))
    else:
        config.pluginmanager.register(Worker({Path(file) for file in workerinput["share"]}))
        atexit.register(os._exit, 0)  # Python would take a second or two to free all that is there


def files_of(arguments: Iterable[str]) -> set[Path]:
    """Return the test files that pytest's *arguments* stand for."""
    paths = [Path(argument.partition("::")[0]).absolute() for argument in arguments]
    below = [path.rglob("test_*.py") if path.is_dir() else [path] for path in paths]
    return {file for files in below for file in files}


def shared_out(
    files: Iterable[Path], count: int, seconds: Mapping[str, float] | None = None
) -> list[set[Path]]:
    """Return *count* shares that take about as long, in which each of *files* is once.

    :param seconds: that files have taken, by path. A file without them takes what its size says.
    """
    costs = _costs(files, seconds or {})
    shares: list[set[Path]] = [set() for _ in range(count)]
    least = [(0.0, number) for number in range(count)]
    for file in sorted(costs, key=lambda file: (-costs[file], file)):
        cost, number = heapq.heappop(least)
        shares[number].add(file)
        heapq.heappush(least, (cost + costs[file], number))
    return shares


def _costs(files: Iterable[Path], seconds: Mapping[str, float]) -> dict[Path, float]:
    sizes = {file: file.stat().st_size for file in files}
    known = [file for file in sizes if str(file) in seconds]
    size = sum(sizes[file] for file in known)
    each = sum(seconds[str(file)] for file in known) / size if size else 1.0
    return {file: seconds.get(str(file), size * each) for file, size in sizes.items()}


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
        self._shares: list[list[str]] | None = None
        self._seconds: dict[str, float] = defaultdict(float)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker that begins the next share."""
        if self._shares is None:
            self._shares = self._shared_out(node.workerinput["workercount"])
        node.workerinput["share"] = self._shares.pop()

    def _shared_out(self, count: int) -> list[list[str]]:
        cache = self._cache
        seconds = {} if cache is None else cache.get(KEPT, {})
        shares = shared_out(files_of(self._session.config.args), count, seconds)
        return [sorted(map(str, share)) for share in shares]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take the share of a worker that has ended back."""
        assert self._shares is not None
        self._shares.append(node.workerinput["share"])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the seconds of a file."""
        file = self._session.config.rootpath / report.nodeid.partition("::")[0]
        self._seconds[str(file)] += report.duration

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Keep the seconds of whole files for the next run."""
        config = self._session.config
        some = config.option.keyword or config.option.markexpr or "::" in "".join(config.args)
        if exitstatus == pytest.ExitCode.OK and self._cache is not None and not some:
            self._cache.set(KEPT, self._cache.get(KEPT, {}) | self._seconds)

    @property
    def _cache(self) -> pytest.Cache | None:
        """What pytest keeps between runs, unless that is off."""
        return getattr(self._session.config, "cache", None)

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
