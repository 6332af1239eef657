# SPDX-License-Identifier: GPL-2.0-only
"""Many jobs through two masters of unequal size, while everything there is is hurt once."""

from __future__ import annotations

from collections import Counter

from buildmaster import wait_for
from installation import Installation
from supervisor import supervised

JOBS = 120


def test_each_of_many_jobs_has_one_result_whatever_is_hurt_meanwhile(
    installation: Installation,
) -> None:
    scheduler = installation.scheduler()
    small, large = (
        installation.interface("small", workers=1),
        installation.interface("large", workers=4),
    )
    installation.start(scheduler, small, large)
    with supervised([scheduler, small, large]):
        jobs = [scheduler.force(seconds="0.5") for _ in range(JOBS)]
        ended(installation, JOBS // 6)
        done = Counter(name for name, result in builds(installation) if result == 0)
        assert done["large"] > done["small"]
        large.kill()
        ended(installation, JOBS * 2 // 6)
        installation.postgresql.restart()
        ended(installation, JOBS * 3 // 6)
        installation.router.kill()
        installation.router.start()
        ended(installation, JOBS * 4 // 6)
        small.freeze()
        ended(installation, JOBS * 5 // 6)
        small.thaw()
        ended(installation, JOBS)

    counted = installation.query(
        "SELECT buildrequestid, count(*) FROM builds WHERE results = 0 GROUP BY buildrequestid"
    )
    assert sorted(counted) == [(job, 1) for job in sorted(jobs)]
    assert {result for _, result in builds(installation)} <= {0, 5}


def builds(installation: Installation) -> list[tuple[str, int | None]]:
    """Return where each build ran, and what it has come to."""
    rows = installation.query(
        "SELECT masters.name, results FROM builds JOIN masters ON masters.id = masterid"
    )
    return [(name.rpartition("/")[2], result) for name, result in rows]


def ended(installation: Installation, number: int) -> None:
    """Wait until so many jobs have their result."""

    def count() -> int:
        ((complete,),) = installation.query(
            "SELECT count(*) FROM buildrequests WHERE complete = 1 AND results = 0"
        )
        return int(complete)

    wait_for(f"{number} jobs to end", lambda: count() >= number)
