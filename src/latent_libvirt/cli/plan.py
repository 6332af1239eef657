# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt plan``: masters, slots, hosts and database cores that a load needs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from latent_libvirt.config.load import load_as
from latent_libvirt.config.source import plain_value
from latent_libvirt.config.text import quoted
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import display_name
from latent_libvirt.stress.sizing.check import compared, predicted
from latent_libvirt.stress.sizing.costs import SHIPPED
from latent_libvirt.stress.sizing.models import Load
from latent_libvirt.stress.sizing.needs import needs
from latent_libvirt.stress.sizing.observed import costs_of
from latent_libvirt.stress.sizing.reports import observed_in
from latent_libvirt.stress.sizing.view import check_view, plan_view
from latent_libvirt.stress.sizing.words import sentences

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from latent_libvirt.stress.sizing.costs import Costs
    from latent_libvirt.stress.sizing.needs import Needs

REQUIRED = {name for name, field in Load.model_fields.items() if field.is_required()}
DIRECTORY = click.Path(path_type=Path, file_okay=False)


def _keys(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each key of a load."""
    for name, field in reversed(Load.model_fields.items()):
        option = click.option(
            _option(name),
            name,
            metavar="VALUE",
            callback=_checked(field),
            help=field.description,
        )
        command = option(command)
    return command


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _checked(field: FieldInfo) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Return a check of an option whose value is that of a key, as a load file has it.

    The check returns it in a tuple; an option that is not given is ``None``.
    """
    checks = (*field.metadata, "a key")  # one may have no checks
    hint: Any = Annotated[field.annotation, *checks]
    kind: TypeAdapter[Any] = TypeAdapter(hint)

    def check(_context: click.Context, _option: click.Parameter, text: str | None) -> Any:
        if text is None:
            return None
        try:
            value = plain_value(text)
        except ValueError:
            raise click.BadParameter(f"{quoted(text)} is no value.") from None
        try:
            kind.validate_python(value)
        except ValidationError as error:
            raise click.BadParameter(f"{error.errors()[0]['msg']}.") from None
        return (value,)

    return check


@click.command(short_help="Tell how many masters, hosts and database cores a load needs.")
@click.argument("load", required=False, type=click.Path(dir_okay=False))
@_keys
@click.option(
    "--figures",
    type=DIRECTORY,
    metavar="REPORT",
    help="Report of `latent-libvirt stress` whose run has this machine's costs. Without it, the "
    "costs are those that come with this package.",
)
@click.option(
    "--check",
    "checked",
    type=DIRECTORY,
    metavar="REPORT",
    help="Compare what the model predicts for the run of a report with what was seen, in place of "
    "a plan. The exit status is 1 if a figure differs by more than 20 %.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(
    load: str | None, *, figures: Path | None, checked: Path | None, as_json: bool, **keys: Any
) -> None:
    """Compute what the load of the YAML file LOAD needs: masters, slots, hosts, database cores.

    Each key of the file has an option, which comes before the file. Without a file, --jobs-per-hour
    and --job-time are needed.

    The answer says what saturates first, and when another interface master pays.
    """
    costs = SHIPPED if figures is None else _costs(figures)
    if checked is not None:
        if load is not None or any(value is not None for value in keys.values()):
            raise click.UsageError("--check takes the load of its report. Leave out the other.")
        _check(checked, costs, as_json=as_json)
        return
    _plan(_load(load, keys), costs, as_json=as_json)


def _costs(figures: Path) -> Costs:
    seen = observed_in(figures)
    return costs_of(seen, SHIPPED, f"measured by the run in {display_name(str(figures))}")


def _load(file: str | None, keys: dict[str, Any]) -> Load:
    """Return the load of a file, with what options say in its place.

    :raises ConfigurationError: its values do not fit together.
    """
    given = {name: value[0] for name, value in keys.items() if value is not None}
    if file is not None:
        written = load_as(Load, file).model_dump(mode="json", exclude_unset=True)
        given = written | given
    if not given.keys() >= REQUIRED:
        needed = " and ".join(map(_option, sorted(REQUIRED, reverse=True)))
        raise click.UsageError(f"Give a load file, or {needed}.")
    try:
        return Load.model_validate(given)
    except ValidationError as error:
        raise ConfigurationError(error.errors()[0]["msg"]) from None


def _plan(load: Load, costs: Costs, *, as_json: bool) -> None:
    found = needs(load, costs)
    if as_json:
        click.echo(json.dumps(_document(load, found, costs), indent=2))
        return
    console = Console(highlight=False)
    for part in plan_view(load, found, costs):
        console.print(part, markup=False)


def _document(load: Load, found: Needs, costs: Costs) -> dict[str, Any]:
    """Return a plan as programs read it; what is never full has no jobs an hour."""
    full = {each.name: load.jobs_per_hour * each.carries for each in found.resources}
    return {
        "answer": sentences(load, found),
        "costs": costs.source,
        "full_at": {name: jobs if math.isfinite(jobs) else None for name, jobs in full.items()},
        **asdict(found),
    }


def _check(directory: Path, costs: Costs, *, as_json: bool) -> None:
    seen = observed_in(directory)
    foretold = predicted(seen, costs)
    figures = compared(seen, foretold)
    good = all(each.good for each in figures)
    if as_json:
        rows = [asdict(each) | {"off": each.off, "good": each.good} for each in figures]
        click.echo(json.dumps({"good": good, "full": foretold.full, "figures": rows}))
    else:
        console = Console(highlight=False)
        for part in check_view(seen, foretold, figures):
            console.print(part, markup=False)
    sys.exit(0 if good else 1)
