# SPDX-License-Identifier: GPL-2.0-only
"""Comparison of two runs in words: as text for a terminal, and as an HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from latent_libvirt.plain_text import as_text
from latent_libvirt.stress.report.comparison import FEWEST

if TYPE_CHECKING:
    from latent_libvirt.stress.report.comparison import Comparison, Figure
    from latent_libvirt.stress.report.numbers import Middle

TEMPLATES: Final = Path(__file__).parent
TEMPLATE: Final = "comparison.html"


def text(found: Comparison) -> str:
    """Return the comparison as lines."""
    lines = [verdict(found), ""]
    lines += [_line(figure) for figure in found.figures]
    if found.gone:
        lines += ["", f"Only in one of the reports: {', '.join(found.gone)}"]
    if found.differences:
        lines += ["", "The profiles differ:", *found.differences]
    return "\n".join(map(as_text, lines))


def verdict(found: Comparison) -> str:
    """Return in words what has changed beyond the noise."""
    if found.differences:
        return f"The profiles differ, so a change may be theirs. {_changes(found)}"
    return _changes(found)


def _changes(found: Comparison) -> str:
    names = {how: [_named(each) for each in found.changed(how)] for how in ("better", "worse")}
    parts = [f"{how.capitalize()}: {', '.join(some)}." for how, some in names.items() if some]
    if found.is_too_short:
        return f"The runs are too short to be compared: no figure has {FEWEST} values in both."
    return " ".join(parts) or "Nothing has changed beyond the noise."


def page(found: Comparison) -> str:
    """Return the comparison as HTML."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(TEMPLATES)
    )
    return environment.get_template(TEMPLATE).render(
        found=found, verdict=verdict(found), shown=shown, times=times
    )


def shown(middle: Middle) -> str:
    """Return a median with its quartiles."""
    if not middle.count:
        return "-"
    return f"{middle.median:.3g} ({middle.low:.3g} to {middle.high:.3g})"


def times(figure: Figure) -> str:
    """Return a ratio as people read it."""
    return "-" if figure.ratio is None else f"{figure.ratio:.2f} times"


def _named(figure: Figure) -> str:
    return f"{figure.name} ({times(figure)})"


def _line(figure: Figure) -> str:
    change = "" if figure.change == "same" else figure.change
    name = f"{figure.name} [{figure.unit}]"
    before, after = shown(figure.before), shown(figure.after)
    return f"{name:<44} {before:>30} {after:>30} {times(figure):>14}  {change}".rstrip()
