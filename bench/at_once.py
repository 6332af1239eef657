# SPDX-License-Identifier: GPL-2.0-only
"""Many slots started at once: by a pool, and by as many bare scripts that do only what they must.

Both resume what was saved before, on the same libvirtd, with the same image, in turn. Prints the
seconds until the last worker is there, and a line of JSON.

    make bench-at-once SLOTS=10
"""

from __future__ import annotations

import argparse
import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import buildmaster
from fixture import lab_with_image
from lab import Lab
from latent_libvirt.host.libvirtd.event_loop import ensure_running
from pools import PoolSettings
from start import Floor, OurPool

FIRST_BARE_SLOT = 101


def bare(floors: list[Floor]) -> float:
    """Start one VM each at once; return the seconds until the last worker has connected."""
    with ThreadPoolExecutor(len(floors)) as threads:
        runs = threads.map(lambda floor: floor.run(), floors)
        return max(run["start"] for run in runs)


def measure(lab: Lab, directory: Path, slots: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round, of both ways."""
    settings = PoolSettings(
        start="resume", max_vms=slots, slots=slots, label_max_vms=slots, max_starting=slots
    )
    found: dict[str, list[float]] = {"bare": [], "pool": []}
    with OurPool(lab, directory / "pool", settings).ready() as pool:
        # A pool saves no slots ahead where others have saved theirs.
        floors = [Floor(lab.uri, FIRST_BARE_SLOT + number) for number in range(slots)]
        for _ in range(rounds):
            found["bare"].append(bare(floors))
            found["pool"].append(max(run["start"] for run in pool.run_many(slots)))
    return found


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--slots", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    ensure_running()
    buildmaster.DEADLINE = 1800.0  # the slots are saved one after the other
    with lab_with_image() as (lab, directory):
        found = measure(lab, directory, arguments.slots, arguments.rounds)
    medians = {way: round(statistics.median(seconds), 3) for way, seconds in found.items()}
    for way, seconds in medians.items():
        print(f"{way:5} {seconds:8.3f} s")
    ratio = round(medians["pool"] / medians["bare"], 2)
    print(json.dumps({"slots": arguments.slots, **medians, "ratio": ratio}))


if __name__ == "__main__":
    main()
