# SPDX-License-Identifier: GPL-2.0-only
"""Thousands of files with something wrong, each saved under a pool that has VMs.

Each is applied, or refused with located errors, and a refused one changes nothing. Reading one file
in depth is tested in ``unit/config/test_anything.py``. ``make soak`` tries 10,000 of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from buildbot.worker.manager import WorkerManager
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from latent_libvirt import Pool
from latent_libvirt.config import InvalidConfiguration, PoolConfig
from latent_libvirt.config.watch import LiveFile
from latent_libvirt.host.host import Host
from latent_libvirt.pool.room.caps import Caps
from mutations import mutated

FILES = 500
"""Files of one test. One that fails names its seed: ``mutated(SEED, ORIGINALS)`` makes it again."""

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "deploy/pool.example.yaml").read_bytes()


def _examples() -> Iterator[bytes]:
    """Yield the example and every whole pool.yaml in the documentation."""
    yield EXAMPLE
    for document in ("README.md", "docs/reference/configuration.md"):
        for block in re.findall(r"```yaml\n(.*?)```", (ROOT / document).read_text(), re.DOTALL):
            if "labels:" in block and "hosts:" in block:
                yield block.encode()


ORIGINALS = tuple(_examples())
LINE_ENDS = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


class _OneThread(Clock):
    """A reactor whose threads do their work at once, so that a saved file is read when asked."""

    def getThreadPool(self) -> _OneThread:  # noqa: N802 - Twisted's
        return self

    def callInThreadWithCallback(  # noqa: N802 - Twisted's
        self, told: Callable[[bool, Any], None], function: Callable[..., Any], *args: Any
    ) -> None:
        try:
            result = function(*args)
        except InvalidConfiguration as error:
            told(False, Failure(error))  # type: ignore[no-untyped-call]
        else:
            told(True, result)

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        function(*args)


class Saved:
    """A pool with a VM of two labels, and its file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(EXAMPLE)
        self.pool: Any = Pool.from_yaml(path)
        reactor = _OneThread()
        master = SimpleNamespace(
            reactor=reactor,
            name="host:/master",
            basedir=path.parent,
            botmaster=SimpleNamespace(builders={}),
            workers=WorkerManager(None),
        )
        self.pool.parent = SimpleNamespace(master=master)
        self.outcomes: list[PoolConfig | InvalidConfiguration] = []
        self._live = LiveFile(
            str(path), applied=self._applied, refused=self._refused, reactor=reactor
        )
        self.original = self.pool.config
        self.pool._apply(self.original)
        self.leases = {
            label: self.pool.vm_pool.lease(f"{label}-1", label, (1,))
            for label in ("debian-12", "fedora")
        }

    def _applied(self, config: PoolConfig) -> None:
        self.pool._saved(config)
        self.outcomes.append(config)

    def _refused(self, error: InvalidConfiguration) -> None:
        self.pool.loaded.refuse(error)
        self.outcomes.append(error)

    def save(self, content: bytes) -> PoolConfig | InvalidConfiguration:
        """Save *content* and let the pool look; return what it makes of it."""
        self.path.write_bytes(content)
        Deferred.fromCoroutine(self._live._load())
        assert self.outcomes, "neither applied nor refused: the log has a traceback"
        return self.outcomes.pop()

    def restore(self) -> None:
        """Make what runs what it was before the file was saved."""
        self.pool._saved(self.original)

    def state(self) -> dict[str, Any]:
        """Return all that a refused file must not change."""
        pool = self.pool
        return {
            "config": pool.config,
            "compared by a reconfig": pool._config_args,
            "caps": pool.vm_pool.capacity.caps,
            "places": pool.vm_pool.capacity.taken,
            "hosts": {name: (id(host), host.config) for name, host in pool.vm_pool.hosts.items()},
            "leases": dict(pool.vm_pool.leases),
            "machines": dict(pool.vm_pool._machines),
        }


def _raise(failure: Any) -> None:
    failure.raiseException()


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Saved:
    # A mutated URI is nobody's: it must not be connected to. All that the hosts' connections decide
    # is whether there is room, and there is.
    monkeypatch.setattr(Host, "start", lambda _host: None)
    monkeypatch.setattr(Host, "usable", True)
    return Saved(tmp_path / "pool.yaml")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try as many files as ``--files`` says."""
    if "first" in metafunc.fixturenames:
        metafunc.parametrize("first", range(0, metafunc.config.getoption("--files"), FILES))


def test_a_file_is_applied_or_refused_with_places_and_then_changes_nothing(
    saved: Saved, first: int
) -> None:
    refused = 0
    for seed in range(first, first + FILES):
        content = mutated(seed, ORIGINALS)
        try:
            refused += _try(saved, content)
        except Exception as error:
            kept = saved.path.with_name(f"seed-{seed}.yaml")
            kept.write_bytes(content)
            raise AssertionError(f"seed {seed}, kept as {kept}: {error!r}") from error
    assert 0 < refused < FILES


def _try(saved: Saved, content: bytes) -> bool:
    """Save *content*, check what becomes of it, and return whether it was refused."""
    before = saved.state()
    outcome = saved.save(content)
    if isinstance(outcome, InvalidConfiguration):
        _check_problems(outcome, content)
        assert saved.pool.loaded.refusal is outcome
        assert saved.state() == before
        return True
    _check_applied(saved, outcome, before)
    saved.restore()
    return False


def _check_problems(error: InvalidConfiguration, content: bytes) -> None:
    last = len(LINE_ENDS.split(content.decode("utf-8", "replace")))
    assert error.problems
    for problem in error.problems:
        assert problem.line is not None, problem
        assert 1 <= problem.line <= last, problem
        assert problem.column is not None, problem
        assert str(problem).startswith(f"{error.path}:{problem.line}:{problem.column}: ")
        assert str(problem).isprintable(), ascii(str(problem))
        assert problem.what
        assert problem.remedy
    assert str(error).splitlines() == error.lines()


def _check_applied(saved: Saved, config: PoolConfig, before: dict[str, Any]) -> None:
    after = saved.state()
    assert after["config"] == config
    assert after["caps"] == Caps.of(config)
    assert {name: host[1] for name, host in after["hosts"].items()} == dict(config.hosts)
    assert saved.pool.loaded.refusal is None
    for kept in ("places", "leases", "machines"):
        assert after[kept] == before[kept], kept


def test_after_all_that_the_vms_can_still_be_released(saved: Saved) -> None:
    for seed in range(100):
        _try(saved, mutated(seed, ORIGINALS))

    for lease in saved.leases.values():
        Deferred.fromCoroutine(saved.pool.vm_pool.release(lease, graceful=False)).addErrback(_raise)

    assert saved.pool.vm_pool.capacity.taken == frozenset()
    assert saved.pool.vm_pool._machines == {}
