# SPDX-License-Identifier: GPL-2.0-only
"""One master that serves jobs, for all tests that do not hurt it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from buildmaster import wait_for
from job_masters import JobMaster


@pytest.fixture(scope="session")
def shared_master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobMaster]:
    """Give a running master, for all tests that do not hurt it."""
    master = JobMaster(tmp_path_factory.mktemp("jobs") / "scheduler")
    master.start()
    yield master
    master.stop()


@pytest.fixture
def master(shared_master: JobMaster) -> Iterator[JobMaster]:
    """Give that master, with nothing to do; and see that all that a test began comes to an end."""
    yield shared_master
    shared_master.let_go()
    wait_for("all to end", lambda: not shared_master.get("buildrequests?complete=false"))
    shared_master.hold_back()
