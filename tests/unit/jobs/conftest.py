# SPDX-License-Identifier: GPL-2.0-only
"""What tests of jobs share: Buildbot's tables, empty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import job_records
from job_records import Tables


@pytest.fixture
def tables() -> Iterator[Tables]:
    with job_records.tables() as tables:
        yield tables
