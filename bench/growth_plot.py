# SPDX-License-Identifier: GPL-2.0-only
"""Plots of ``growth.py``: how near each figure is to what it may be at most, and what grows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

Figures = Mapping[str, Mapping[str, float]]

LIMITS = {
    ("far_start", "ratio"): (1.25, "start 20 ms away, of the floor there"),
    ("far_start", "messages_until_it_runs"): (10, "messages until a VM runs"),
    ("look_up", "later_messages"): (1, "messages of a look-up with 100 versions"),
    ("possible", "10000_s"): (10, "master's start with 10,000 possible VMs"),
    ("possible", "50000_s"): (15, "the same with 50,000"),
    ("possible", "200000_ratio"): (1.5, "100 labels without max_vms, of 200 VMs"),
    ("reactor", "many_ms"): (25, "look at 250 hosts"),
    ("reactor", "at_once_ms"): (5, "its longest step"),
    ("statements", "per_job"): (100, "statements of a trivial job"),
    ("output", "ratio"): (0.75, "first output, of Buildbot's tries"),
    ("memory", "ratio"): (1.6, "resume with 16 GiB, of 512 MiB"),
    ("density", "ratio"): (1, "memory of a VM with KSM, of none"),
    ("publish", "sparse_ratio"): (1.5, "sparse publication, of virsh"),
}
"""What each figure may be at most, and what it is."""


def against_limits(found: Figures) -> dict[str, tuple[float, float]]:
    """Return the figures that have a limit, with it, by what they are."""
    return {
        words: (found[row][name], limit)
        for (row, name), (limit, words) in LIMITS.items()
        if name in found.get(row, {})
    }


def plot(found: Figures, file: Path) -> None:
    """Draw what was found to an SVG file."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "latent-libvirt"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - it takes the backend as it is imported

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.2), layout="constrained", width_ratios=(2, 1)
    )
    _draw_shares(left, found)
    _draw_starts(right, found)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def _draw_shares(axes: mpl.axes.Axes, found: Figures) -> None:
    shares = {words: value / most for words, (value, most) in against_limits(found).items()}
    names = list(reversed(shares))
    bars = axes.barh(names, [shares[name] for name in names])
    axes.bar_label(bars, [f"{shares[name]:.2f}" for name in names], fontsize="small", padding=2)
    axes.axvline(1.0, color="grey", linewidth=1)
    axes.set(xlabel="of what it may be at most", title="Rows of the table")
    axes.tick_params(axis="y", labelsize="small")
    axes.margins(x=0.15)


def _draw_starts(axes: mpl.axes.Axes, found: Figures) -> None:
    starts = found.get("possible", {})
    counts = sorted(int(name[:-2]) for name in starts if name[:-2].isdecimal())
    for kind, words in (("s", "until it takes jobs"), ("cpu_s", "of a processor")):
        axes.plot(counts, [starts[f"{count}_{kind}"] for count in counts], "o-", label=words)
    axes.set(xlabel="VMs that there might be", ylabel="seconds", title="Start of a master")
    axes.set_ylim(bottom=0)
    if counts:
        axes.set_xscale("log")
        axes.legend(fontsize="small")
    axes.grid(visible=True, alpha=0.3)
