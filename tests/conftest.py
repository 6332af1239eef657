# SPDX-License-Identifier: GPL-2.0-only
"""What all tests share: how hypothesis looks for examples, the cache, options of long tests."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest
import pytest_twisted
from twisted.internet.task import deferLater

# Machines are busy: how long an example takes says nothing. What fails is to be repeatable.
hypothesis.settings.register_profile("here", max_examples=50, deadline=None, print_blob=True)
hypothesis.settings.register_profile("long", max_examples=1000, deadline=None, print_blob=True)
hypothesis.settings.load_profile("here")


def pytest_configure() -> None:
    """Let children listen to signals, also where this process was told to ignore them.

    They would inherit what ``nohup`` or a shell's ``&`` ignores, but they inherit no handler.
    SIGTERM ends the tests as Ctrl-C does, with all that they began.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Have one more worker than processors if tests wait for masters and guests a lot.

    Unit tests do not wait, and each worker collects all of them.
    """
    is_waiting = any("unit" not in Path(argument).parts for argument in config.args)
    return len(os.sched_getaffinity(0)) + is_waiting


def pytest_sessionstart(session: pytest.Session) -> None:
    """Let each worker collect a share of the tests, if that was asked for."""
    if session.config.getoption("shares"):
        import shares  # noqa: PLC0415 (a test runs this file where it cannot be imported)

        shares.install(session)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remove the 10 GB of disks and databases of a whole run in which nothing has failed.

    Not test by test, as pytest can: what an async fixture has started ends after its ``tmp_path``.
    """
    config = session.config
    is_worker, is_given = hasattr(config, "workerinput"), config.option.basetemp
    if exitstatus == pytest.ExitCode.OK and not is_worker and not is_given:
        made = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        shutil.rmtree(made, ignore_errors=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are collected, since nearly all of that stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Keep thousands of collected tests out of what the garbage collector looks through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _reactor_runs() -> None:
    """Let the reactor take what signals it wants now, not later."""
    from twisted.internet import reactor  # noqa: PLC0415 (which one is not known before)

    pytest_twisted.blockon(deferLater(reactor, 0.0))
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Take SIGTERM back from tests that listened to it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def cache(pytestconfig: pytest.Config) -> Path:
    """Give the directory of what takes long to make and outlives a run: images, capabilities."""
    return pytestconfig.rootpath / ".cache"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a test be a soak test, where there is time for it."""
    parser.addoption("--shares", action="store_true", help="collect in each worker what it runs")
    parser.addoption("--jobs", type=int, default=60, help="jobs through several masters")
    parser.addoption("--rounds", type=int, default=1, help="how often all is hurt meanwhile")
    parser.addoption("--files", type=int, default=2000, help="files with something wrong")
