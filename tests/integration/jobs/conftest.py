# SPDX-License-Identifier: GPL-2.0-only
"""One master that serves jobs, for all tests that do not hurt it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from job_masters import JobMaster


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobMaster]:
    """Give a running master."""
    master = JobMaster(tmp_path_factory.mktemp("jobs") / "scheduler")
    master.start()
    yield master
    master.stop()
