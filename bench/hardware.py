# SPDX-License-Identifier: GPL-2.0-only
"""How long a VM takes to become a worker, by the hardware that its label asks for.

All use the same libvirtd and accelerator, in turn, in one run. Each turn of each way starts a
master whose VM boots, and one whose VM is resumed. Prints a table of medians, and a line of JSON,
whose ratios compare each way with a VM that asks for nothing.

    make bench-hardware ROUNDS=5
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import signed_disk
from fixture import CACHE, IMAGE, image, lab_with_image
from lab import Lab
from latent_libvirt.host.libvirtd.event_loop import ensure_running
from latent_libvirt.images import recipes
from latent_libvirt.images.build import build
from pools import PoolSettings
from start import Run, measure_pool, median

FOREIGN = "debian-12-aarch64"

PLAIN = "bios"
"""The way that the others are compared with."""

RESUMES = 3
"""Jobs of a turn whose VM is resumed: they are short beside what gets it saved."""


@dataclass(frozen=True)
class Way:
    """Hardware to measure.

    :param keys: of the label, as lines.
    """

    keys: str
    image: str = IMAGE


WAYS = {
    PLAIN: Way(""),
    "uefi": Way("firmware: uefi"),
    "two-disks": Way("disks: [{name: one, size: 1GiB}, {name: two, size: 1GiB}]"),
    "secure": Way("firmware: uefi-secure\ntpm: true", signed_disk.NAME),
    "aarch64": Way("arch: aarch64", FOREIGN),
}


def publish(lab: Lab, ways: Iterable[Way]) -> None:
    """Publish their images; the one without which no benchmark does is there."""
    names = {way.image for way in ways}
    if FOREIGN in names:
        lab.publish(build(recipes.load(FOREIGN), CACHE / "images"))
    if signed_disk.NAME in names:
        lab.publish(signed_disk.signed_image(CACHE, image()))


def turn(lab: Lab, directory: Path, way: Way) -> tuple[list[Run], list[Run]]:
    """Return the runs of one turn: in a VM that boots, and in a VM that is resumed."""
    settings = PoolSettings(
        image=f"{{name: {way.image}}}",
        slots=1,
        label_max_vms=1,
        boot_timeout="15m",
        attach_timeout="5m",
        label_keys=way.keys,
    )
    directory.mkdir()
    cold = measure_pool(lab, directory / "cold", settings, 1)
    lab.delete_saved()  # where others have saved theirs, a pool saves no slot ahead
    resumed = replace(settings, start="resume")
    return cold, measure_pool(lab, directory / "resumed", resumed, RESUMES)


def measure(
    lab: Lab, directory: Path, ways: Mapping[str, Way], rounds: int
) -> dict[str, dict[str, list[Run]]]:
    """Return the runs of each way, by how their VMs start."""
    found: dict[str, dict[str, list[Run]]] = {way: {"cold": [], "resumed": []} for way in ways}
    for number in range(rounds):
        for name, way in ways.items():
            cold, resumed = turn(lab, directory / f"{name}-{number}", way)
            found[name]["cold"] += cold
            found[name]["resumed"] += resumed
            print(f"{name} {number}: {median(cold):.2f} {median(resumed):.2f}", flush=True)
    return found


def figures(found: Mapping[str, Mapping[str, list[Run]]]) -> dict[str, float | str]:
    """Return what the line of JSON says: seconds, and how many times those of the plain way."""
    result: dict[str, float | str] = {}
    for way, starts in found.items():
        for start, runs in starts.items():
            result[f"{way}_{start}_s"] = round(median(runs), 3)
            if PLAIN in found and way != PLAIN:
                plain = statistics.median(run["start"] for run in found[PLAIN][start])
                result[f"{way}_{start}_ratio"] = round(median(runs) / plain, 2)
    return {**result, "accelerator": "tcg"}


def print_table(found: Mapping[str, Mapping[str, list[Run]]]) -> None:
    """Print the medians, in seconds."""
    print(f"{'':10} {'cold':>9} {'resumed':>9}")
    for way, starts in found.items():
        print(f"{way:10} {median(starts['cold']):9.3f} {median(starts['resumed']):9.3f}")


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="only these")
    arguments = parser.parse_args()
    ways = {name: way for name, way in WAYS.items() if name in arguments.ways}
    ensure_running()
    with lab_with_image() as (lab, directory):
        publish(lab, ways.values())
        found = measure(lab, directory, ways, arguments.rounds)
    print_table(found)
    print(json.dumps(figures(found)))


if __name__ == "__main__":
    main()
