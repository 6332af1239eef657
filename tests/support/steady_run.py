# SPDX-License-Identifier: GPL-2.0-only
"""Raw data of a run that goes as the capacity model says, in place of minutes on a real one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from latent_libvirt.stress.measure.raw import append
from latent_libvirt.stress.profile.models import Profile
from latent_libvirt.stress.report.data import RAW, Run
from latent_libvirt.stress.sizing.costs import Costs
from latent_libvirt.stress.sizing.forecast import Site, forecast
from latent_libvirt.stress.sizing.mix import offered

BEGAN = 1_000_000.0
SECONDS = 100

PROFILE: dict[str, Any] = {
    "deployment": {"interface_masters": 2, "hosts": 5, "slots": 10},
    "jobs": {
        "count": 200,
        "arrivals": {"kind": "poisson", "during": f"{SECONDS}s"},
        "shapes": {"quick": {"weight": 3}, "long": {"seconds": 20, "lines": 100}},
    },
    "readers": {"users": 5},
    "within": "10m",
}


def write(
    directory: Path,
    costs: Costs,
    *,
    machine: int = 4,
    others: float = 0.0,
    profile: dict[str, Any] = PROFILE,
) -> None:
    """Write the report of a run of PROFILE on a machine with these costs.

    :param others: cores that other programs use.
    """
    raw = directory / RAW
    raw.mkdir(parents=True)
    wanted = Profile.model_validate(profile)
    deployment = profile["deployment"]
    masters = deployment["interface_masters"]
    site = Site(masters, masters * deployment["hosts"] * deployment["slots"], machine)
    traffic, backlog = offered(wanted)
    found = forecast(traffic, costs, site, backlog=backlog)
    names = ("scheduler", *(f"interface-{n}" for n in range(1, masters + 1)))
    run = Run(
        *(BEGAN, BEGAN + SECONDS, machine, site.slots, wanted.jobs.count, names),
        profile=yaml.safe_dump(profile),
    )
    (raw / "run.json").write_text(json.dumps(asdict(run)))
    cores = {name: found.cores[name.partition("-")[0]] for name in names}
    cores |= {"postgresql": found.cores["database"], "router": found.cores["router"]}
    cores |= {"harness": found.cores["harness"], "machine": found.all_cores + others}
    builds, taken, reads = found.traffic.builds, found.traffic.vms, found.traffic.reads
    for at in range(SECONDS):
        now = BEGAN + at
        append(
            raw / "processes.jsonl",
            ({"at": now, "process": p, "cores": c, "memory": 1} for p, c in cores.items()),
        )
        waiting = 50 if backlog else 0
        queue = {"waiting": waiting, "unfinished": taken + waiting, "finished": builds * at}
        append(raw / "queue.jsonl", [{"at": now, **queue, "age": 0.0}])
        post = {"at": now, "uuid": str(at), "shape": "quick", "late": 0.0, "seconds": 0.1}
        append(raw / "posts.jsonl", [post | {"error": ""}])
    for number in range(int(reads * SECONDS)):
        web = {"at": BEGAN + number / reads, "kind": "ui", "seconds": 0.1, "bytes": 1}
        append(raw / "web.jsonl", [web | {"status": 200, "error": ""}])
