# SPDX-License-Identifier: GPL-2.0-only
"""Summary of a run: the line of JSON that the command ends with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from latent_libvirt.stress.report import page
from latent_libvirt.stress.report.data import read
from latent_libvirt.stress.report.figures import figures
from latent_libvirt.stress.report.verdict import verdict

if TYPE_CHECKING:
    from latent_libvirt.stress.report.figures import Figures
    from latent_libvirt.stress.report.verdict import Verdict


def report(directory: Path) -> dict[str, Any]:
    """Write the page of the run whose raw data is in *directory*; return its summary."""
    data = read(directory)
    found = figures(data)
    judged = verdict(data.run, found)
    return summary(found, judged, page.write(directory, data, found, judged))


def summary(found: Figures, judged: Verdict, path: Path) -> dict[str, Any]:
    """Return the figures that count; ``web_p99_s`` is ``None`` if nobody has read."""
    return {
        "verdict": judged.text,
        "saturated": judged.saturated,
        "jobs_per_min": round(found.jobs_per_min, 1),
        "web_p99_s": round(found.all_web.p99, 3) if found.all_web.count else None,
        "report": str(path),
    }
