# SPDX-License-Identifier: GPL-2.0-only
"""How many statements a trivial job costs its master's database, from its request to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import statements

MOST: Final = 95
"""Without those that repeat as time goes by, and without the client's question for builders.

It is 88 where there are two builders, and a few more if a job takes long. Of Buildbot 4.3
alone it is 172 then, and more with more builders.
"""

JOBS: Final = 5


def test_a_trivial_job_costs_few_statements(tmp_path: Path) -> None:
    found = statements.of_jobs(tmp_path / "master", JOBS)

    listed = "\n".join(f"{count} {text}" for text, count in found.most_common())
    assert found.total() / JOBS <= MOST, listed
