# SPDX-License-Identifier: GPL-2.0-only
"""Page of a report: one HTML file with plots and tables, which loads nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from latent_libvirt.stress.report import series
from latent_libvirt.stress.report.data import RAW
from latent_libvirt.stress.report.svg import plot

if TYPE_CHECKING:
    from latent_libvirt.stress.report.data import Data
    from latent_libvirt.stress.report.figures import Figures
    from latent_libvirt.stress.report.verdict import Verdict

TEMPLATES: Final = Path(__file__).parent
TEMPLATE: Final = "page.html"
MIB: Final = 2**20


def page(data: Data, figures: Figures, verdict: Verdict, *, files: list[str]) -> str:
    """Return the page.

    :param files: the names of the files with raw data.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(TEMPLATES)
    )
    return environment.get_template(TEMPLATE).render(
        run=data.run,
        figures=figures,
        verdict=verdict,
        plots=plots(data),
        statements=data.statements,
        files=files,
    )


def plots(data: Data) -> dict[str, Markup]:
    """Return the plots by their names in the template."""
    found = {
        "queue": plot(series.queue(data), unit="requests"),
        "throughput": plot(series.throughput(data), unit="/min"),
        "age": plot(series.age(data), unit="s"),
        "web": plot(series.web(data), unit="s"),
        "cores": plot(series.processes(data, lambda row: row["cores"]), unit="cores"),
        "memory": plot(series.processes(data, lambda row: row["memory"] / MIB), unit="MiB"),
        "reactors": plot(series.reactors(data), unit="s"),
        "database": plot(series.database(data), unit="s/s"),
    }
    return {name: Markup(svg) for name, svg in found.items()}  # noqa: S704 - lxml has escaped it


def write(directory: Path, data: Data, figures: Figures, verdict: Verdict) -> Path:
    """Write the page of the report in *directory*; return its path."""
    files = sorted(file.name for file in (directory / RAW).iterdir())
    path = directory / "index.html"
    path.write_text(page(data, figures, verdict, files=files), encoding="utf-8")
    return path
