# SPDX-License-Identifier: GPL-2.0-only
"""Where the time of day is read: what is shown, stored or agreed with others.

Intervals are measured with ``timers.passed``. A clock that is set back by an hour would otherwise
refuse a client for an hour, or keep a line from the log for as long.
"""

from __future__ import annotations

import re
from pathlib import Path

import latent_libvirt

SOURCE = Path(latent_libvirt.__file__).parent

READ_IN = {
    "jobs/audit.py": "lines have it",
    "jobs/callbacks.py": "the database has when a callback is due",
    "jobs/cancellation.py": "the database has it",
    "jobs/manager.py": "tokens expire, and jobs have it",
    "master/page/audit.py": "lines have it",
    "master/page/usage_view.py": "the database has when builds began",
    "master/database/buildsets.py": "the database has it",
    "master/peers.py": "the database has when masters were active",
    "master/service/pool_service.py": "the same",
    "master/workers/held.py": "a build's page says for how long its VM is held",
    "host/sweeper.py": "the deadline of a frozen VM outlives the master",
    "pool/holding/thawing/running_thaws.py": "the same",
    "pool/holding/notes.py": "the same",
    "pool/holding/holds.py": "an operator names the end of a hold, and it outlives the master",
    "pool/spares.py": "spares follow the clock",
    "pool/vm.py": "the age of a VM outlives the master",
    "pool/vm_pool.py": "the page shows when slots changed",
    "pool/vms.py": "the age of a VM outlives the master",
    "upstream/failed_starts.py": "the database has it",
}
MEASURED_BY_IT = {
    "timers.py": "defines what passes",
    "stress/in_master/reactor_delay.py": "a run that is measured lasts minutes",
    "stress/simulation/commands.py": "the same",
}


def test_the_time_of_day_is_read_only_where_it_means_a_date() -> None:
    read = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if re.search(r"(reactor|clock)\.seconds\b", path.read_text())
    }

    assert read == {*READ_IN, *MEASURED_BY_IT}, "measure an interval with timers.passed"
