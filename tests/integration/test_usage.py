# SPDX-License-Identifier: GPL-2.0-only
"""What a build has used is what libvirt counts, by a sampler that knows nothing of the pool."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from buildmaster import wait_for
from commands import run, told
from lab import Lab
from pools import MakeMaster
from sampler import sampling

BURNING = """
factory = util.BuildFactory([
    steps.ShellCommand(command="dd if=/dev/urandom of=large bs=1M count=50 && sync"),
    steps.ShellCommand(command="timeout 5 sh -c 'while :; do :; done' || true"),
])
"""


def test_a_build_is_charged_with_what_libvirt_counts(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    master = make_ready_master(BURNING)

    with sampling(ready_lab) as seen:
        job = master.force()
        assert master.wait_for_result(job) == "SUCCESS"
        wait_for("the VM to go", lambda: not ready_lab.domains())
    outside = max(seen.values())

    def used() -> Any:
        return master.builds(job)[0]["properties"].get("vm_usage", [None])[0]

    usage = wait_for("the usage to be stored", used)
    assert abs(usage["cpu_seconds"] - outside) <= 0.02 * outside + 0.1
    assert usage["cpu_seconds"] > 1
    assert usage["written"] >= 50 * 2**20
    assert 0 < usage["peak_memory"] < 2 * usage["memory"]
    assert (usage["label"], usage["host"], usage["vcpus"]) == ("debian-12", "here", 1)

    (row,) = json.loads(told(master, "usage", "--format", "json"))["sums"]
    assert (row["name"], row["builds"], row["cpu_seconds"]) == ("check", 1, usage["cpu_seconds"])
    (line,) = csv.DictReader(
        io.StringIO(told(master, "usage", "--by", "label", "--since", "1h", "--format", "csv"))
    )
    assert (line["label"], line["builds"]) == ("debian-12", "1")
    assert "No build" in told(master, "usage", "--since", "2019-12-31", "--until", "2020-01-01")
    assert "check" in told(master, "usage")
    assert run(master, "usage", "--since", "once").returncode == 2
