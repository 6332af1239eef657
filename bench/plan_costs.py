# SPDX-License-Identifier: GPL-2.0-only
"""The costs that come with `latent-libvirt plan`: runs that differ in one thing, and their fit.

Each run gives an equation for each part: the sum of what it did, times what each of it costs, is
what the part used. There are more runs than costs. The fit has the least relative errors, and no
cost is negative. Reports of earlier runs can be fitted again without a run (``--fit DIR``).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import yaml

from latent_libvirt.stress.sizing.observed import Observed
from latent_libvirt.stress.sizing.reports import observed_in
from latent_libvirt.stress.sizing.work import PARTS, Work, work_of

CACHE: Final = Path(__file__).resolve().parents[1] / ".cache"
NOTHING: Final = {"database": ("vms",), "router": ("vms",)}
"""Things that do nothing in a part: a VM that runs a build makes no statement, and no event."""

TINY: Final = 0.005  # cores: what is less has no relative error worth the name


def run(masters: int, count: int, during: str, shape: Mapping[str, float], readers: int = 0) -> Any:
    """Return a profile in which only these differ."""
    return {
        "deployment": {"interface_masters": masters, "hosts": 10, "slots": 10},
        "jobs": {
            "count": count,
            "arrivals": {"kind": "poisson", "during": during},
            "shapes": {"only": dict(shape)},
        },
        "readers": {"users": readers, "every": 2.0},
        "within": "4m",
    }


RUNS: Final = {
    "idle": run(8, 12, "60s", {}),
    "trivial": run(2, 210, "70s", {}),
    "trivial-8": run(8, 210, "70s", {}),
    "lines": run(2, 70, "70s", {"lines": 5000}),
    "quiet": run(2, 200, "100s", {"seconds": 60}),
    "chatty": run(2, 200, "100s", {"seconds": 60, "lines": 1000}),
    "readers": run(2, 100, "70s", {}, readers=20),
}


@click.command(help=__doc__)
@click.option("--fit", type=click.Path(path_type=Path), help="A directory with reports.")
def main(fit: Path | None) -> None:
    """Run, and print the costs."""
    reports = fit or CACHE / "plan-costs"
    if fit is None:
        for name, profile in RUNS.items():
            _run(name, profile, reports)
    seen = [observed_in(directory) for directory in sorted(reports.iterdir())]
    for part in PARTS:
        costs, off = fitted(part, seen)
        members = ", ".join(f"{name}={value:.3g}" for name, value in costs.items() if value)
        print(f'"{part}": PartCosts({members}),  # off by {off:.0%} at most')


def fitted(part: str, runs: list[Observed]) -> tuple[dict[str, float], float]:
    """Return a part's costs that are not 0, and the largest relative error."""
    used = np.array([max(TINY, each.cores[part]) for each in runs])
    work = [work_of(part, each.traffic, each.interface_masters) for each in runs]
    names = [each.name for each in fields(Work)]
    possible = np.array([name not in NOTHING.get(part, ()) for name in names])
    rows = np.array([astuple(each) for each in work]) * possible / used[:, None]
    costs = not_negative(rows)
    off = float(np.max(np.abs(rows @ costs - 1)))
    return dict(zip(names, costs.tolist(), strict=True)), off


def not_negative(rows: Any) -> Any:
    """Return the least squares solution of ``rows @ x == 1`` without what would be negative."""
    keep = list(np.flatnonzero(rows.any(axis=0)))
    while True:
        found = np.zeros(rows.shape[1])
        found[keep] = np.linalg.lstsq(rows[:, keep], np.ones(len(rows)), rcond=None)[0]
        if found.min() >= 0:
            return found
        keep.remove(int(found.argmin()))


def _run(name: str, profile: Any, reports: Path) -> None:
    reports.mkdir(parents=True, exist_ok=True)
    file = reports.parent / f"{name}.yaml"
    file.write_text(yaml.safe_dump(profile))
    program = Path(sys.executable).with_name("latent-libvirt")
    command = ["stress", str(file), "--report", str(reports / name), "--cache", str(CACHE)]
    subprocess.run([program, *command], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
