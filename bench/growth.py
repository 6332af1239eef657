# SPDX-License-Identifier: GPL-2.0-only
"""How cost grows: with the distance of a host, images, hosts, possible VMs, jobs, and memory.

Each row compares two figures of the same run. Starts on a far host are compared with a bare script
at the same distance, in turn. Prints a table, draws it, and prints a line of JSON.

    make bench-growth ROUNDS=5 ROWS="far_start memory" KSM=1
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import growth_plot
from fixture import lab_with_image
from growth_guests import measure_density, measure_memory
from growth_hosts import measure_far_start, measure_look_up, measure_publish
from growth_masters import (
    measure_first_output,
    measure_possible_vms,
    measure_reactor,
    measure_statements,
)
from latent_libvirt.host.libvirtd.event_loop import ensure_running

OF_MASTERS = ("reactor", "statements", "possible", "output")
OF_HOSTS = ("far_start", "memory", "density", "look_up", "publish")
"""Rows, in the order in which they are measured. The last two leave images behind."""

PLOT = Path("docs/explanation/images/growth.svg")

Found = dict[str, dict[str, float]]


def measure_masters(rows: list[str], rounds: int) -> Found:
    """Measure those rows that have no VM."""
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        directory = Path(temporary)
        ways = {
            "reactor": measure_reactor,
            "statements": lambda: measure_statements(directory / "master"),
            "possible": lambda: measure_possible_vms(directory),
            "output": lambda: measure_first_output(3 * rounds),
        }
        return {row: ways[row]() for row in rows}


def measure_hosts(rows: list[str], rounds: int, *, ksm: bool) -> Found:
    """Measure those rows that have a hypervisor.

    :param ksm: whether the kernel is to merge pages for a while.
    """
    with ExitStack() as stack:
        lab, directory = stack.enter_context(lab_with_image()) if rows else (None, None)
        ways = {
            "far_start": lambda: measure_far_start(lab, directory / "far", rounds),
            "memory": lambda: measure_memory(lab, rounds),
            "density": lambda: measure_density(lab, switch_on=ksm),
            "look_up": lambda: measure_look_up(lab, directory),
            "publish": lambda: measure_publish(lab, directory / "published", rounds),
        }
        return {row: ways[row]() for row in rows}


def print_table(found: Found) -> None:
    """Print all figures, and those that have a limit with it."""
    for row, figures in found.items():
        for name, value in figures.items():
            print(f"{row:10} {name:24} {value:10.3f}")
    for words, (value, most) in growth_plot.against_limits(found).items():
        verdict = "within" if value <= most else "BEYOND"
        print(f"{words:44} {value:9.2f}  {verdict} {most:g}")


def main() -> None:
    """Measure, print and draw what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    every = (*OF_MASTERS, *OF_HOSTS)
    parser.add_argument("--rows", nargs="+", default=every, choices=every, metavar="ROW")
    parser.add_argument("--ksm", action="store_true", help="switch KSM on for a while, as root")
    parser.add_argument("--plot", type=Path, help=f"where to draw it; {PLOT} if all rows are there")
    arguments = parser.parse_args()
    ensure_running()
    masters = [row for row in OF_MASTERS if row in arguments.rows]
    hosts = [row for row in OF_HOSTS if row in arguments.rows]
    found = measure_masters(masters, arguments.rounds)
    found |= measure_hosts(hosts, arguments.rounds, ksm=arguments.ksm)
    print_table(found)
    plot = arguments.plot or (PLOT if len(found) == len(every) else None)
    if plot is not None:
        growth_plot.plot(found, plot)
        print(f"drawn: {plot}")
    rounded = {
        row: {name: round(value, 3) for name, value in figures.items()}
        for row, figures in found.items()
    }
    print(json.dumps(rounded | {"accelerator": "tcg", "load": round(os.getloadavg()[0], 1)}))


if __name__ == "__main__":
    main()
