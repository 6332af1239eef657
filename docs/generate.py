# SPDX-License-Identifier: GPL-2.0-only
"""Write the pages of the reference that follow from the code: ``python docs/generate.py``.

A unit test compares them with what this makes. The pages of pool.yaml, of stress profiles and of
loads are written by hand, except for the tables between their comments ``<!-- keys of SECTION -->``
and ``<!-- end -->``.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from latent_libvirt.cli import main as command
from latent_libvirt.config.destinations import DestinationConfig
from latent_libvirt.config.fields.base import Written
from latent_libvirt.config.hardware.choice import MemoryRange, VcpuRange
from latent_libvirt.config.hardware.devices import DeviceConfig
from latent_libvirt.config.hardware.disks import DiskConfig
from latent_libvirt.config.models import DefaultsConfig
from latent_libvirt.config.sections.host import HostConfig
from latent_libvirt.config.sections.image import ImageConfig
from latent_libvirt.config.sections.label import LabelConfig
from latent_libvirt.config.sections.master import MasterConfig
from latent_libvirt.config.sections.network import NetworkConfig
from latent_libvirt.config.sections.spares import SparePeriod, SparesConfig
from latent_libvirt.jobs.document import Addresses
from latent_libvirt.jobs.web.openapi import description
from latent_libvirt.metrics.collector import GAUGES
from latent_libvirt.metrics.families import Family
from latent_libvirt.metrics.instruments import Instruments
from latent_libvirt.stress.profile.models import (
    ArrivalsProfile,
    DeploymentProfile,
    JobsProfile,
    Profile,
    ReadersProfile,
    ShapeProfile,
)
from latent_libvirt.stress.profile.target import TargetProfile
from latent_libvirt.stress.sizing.costs import SHIPPED
from latent_libvirt.stress.sizing.models import Load
from latent_libvirt.stress.sizing.needs import needs
from latent_libvirt.stress.sizing.resources import first_full
from latent_libvirt.stress.sizing.words import NAMES, number

DOCS = Path(__file__).parent
HEAD = "<!-- Made by docs/generate.py: do not edit. -->\n"

SECTIONS: Final[dict[str, type[BaseModel]]] = {
    "master": MasterConfig,
    "hosts": HostConfig,
    "images": ImageConfig,
    "labels": LabelConfig,
    "vcpus": VcpuRange,
    "memory": MemoryRange,
    "disks": DiskConfig,
    "devices": DeviceConfig,
    "spares": SparesConfig,
    "periods": SparePeriod,
    "network": NetworkConfig,
    "network_groups": DestinationConfig,
    "defaults": DefaultsConfig,
}
"""The sections of pool.yaml that have a table of keys."""

STRESS: Final[dict[str, type[BaseModel]]] = {
    "profile": Profile,
    "deployment": DeploymentProfile,
    "target": TargetProfile,
    "jobs": JobsProfile,
    "arrivals": ArrivalsProfile,
    "shapes": ShapeProfile,
    "readers": ReadersProfile,
}
"""Those of a stress profile."""

CAPACITY: Final[dict[str, type[BaseModel]]] = {"load": Load}
"""That of a load."""

METRICS = """\
[Monitor a pool with Prometheus](../how-to/monitor-with-prometheus.md) shows how to serve and scrape
them, and what to alert on. Each metric has the label `pool`, too. It is the pool's name."""

ABOUT_GAUGES = """\
A scrape reads the gauges from the pool, so they agree with `latent-libvirt status`. The page about
[reasons of waiting](../how-to/find-why-a-request-waits.md) explains
`latent_libvirt_waiting_because`."""

ABOUT_COUNTERS = """\
They count from the start of the master.
[The life of a VM](../explanation/architecture.md#the-life-of-a-vm) explains the phases."""

KEYS = re.compile(r"(<!-- keys of (\w+) -->\n).*?(?=<!-- end -->)", re.DOTALL)

NEEDS = re.compile(r"(<!-- needs -->\n).*?(?=<!-- end -->)", re.DOTALL)

LOADS: Final = (
    (500, "5m", 500),
    (500, "30m", 5_000),
    (2_000, "5m", 500),
    (2_000, "30m", 5_000),
    (2_000, "30m", 50_000),
    (5_000, "5m", 500),
    (5_000, "30m", 5_000),
    (10_000, "5m", 500),
    (20_000, "5m", 500),
)
"""Jobs an hour, time of a job, and lines of a job in the table of needs."""

_WORDS: Final = {int: "number", bool: "`true`, `false`", float: "factor", str: "text"}


def pages() -> dict[str, str]:
    """Return the text of each page by its path below ``docs``."""
    return {
        "reference/capacity-loads.md": capacity(),
        "reference/cli.md": cli(),
        "reference/configuration.md": with_keys("reference/configuration.md", SECTIONS),
        "reference/job-api-requests.md": job_api(),
        "reference/metrics.md": metrics(),
        "reference/stress-profiles.md": with_keys("reference/stress-profiles.md", STRESS),
    }


def cli() -> str:
    """Return the page of the command and its verbs."""
    context = click.Context(command, info_name="latent-libvirt")
    parts = [HEAD + "# Command line", _text(command.help), str(command.epilog)]
    for path, verb in _verbs(command, context):
        parts += [f"## `{' '.join(path)}`", _text(verb.help)]
        with click.Context(verb, info_name=" ".join(path)) as inner:
            usage = " ".join(verb.collect_usage_pieces(inner))
            parts.append(f"```\n{' '.join(path)} {usage}\n```")
            parts += _options(verb, inner)
    return "\n\n".join(part for part in parts if part) + "\n"


def _verbs(
    group: click.Group, context: click.Context, above: tuple[str, ...] = ("latent-libvirt",)
) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name in group.list_commands(context):
        verb = group.get_command(context, name)
        assert verb is not None
        path = (*above, name)
        if isinstance(verb, click.Group):
            found += _verbs(verb, click.Context(verb, info_name=name, parent=context), path)
        else:
            found.append((path, verb))
    return found


def _options(verb: click.Command, context: click.Context) -> list[str]:
    records = [
        record
        for parameter in verb.get_params(context)
        if (record := parameter.get_help_record(context)) and record[1]
    ]
    records = [(names, help_) for names, help_ in records if "--help" not in names]
    if not records:
        return []
    rows = [f"| `{_cell(names)}` | {_cell(help_)} |" for names, help_ in records]
    return ["\n".join(["| option | meaning |", "|---|---|", *rows])]


def job_api() -> str:
    """Return the page of the job API's requests and documents."""
    api = description(Addresses("https://ci.example.org/jobs", "https://ci.example.org/"))
    parts = [
        HEAD + "# Job API: requests and documents",
        "[Job API](job-api.md) explains it. `GET /jobs/openapi.json` describes it for programs.",
        "## Requests",
    ]
    for path, verbs in api["paths"].items():
        for verb, operation in verbs.items():
            if verb != "parameters":
                parts += _operation(f"{verb.upper()} {path}", operation)
    parts.append("## Documents")
    for name, schema in api["components"]["schemas"].items():
        if "properties" in schema:
            parts += _document(name, schema)
        elif "enum" in schema:
            parts += [f"### {name}", f"One of {_type(schema)}."]
    return "\n\n".join(parts) + "\n"


def _operation(title: str, operation: dict[str, Any]) -> list[str]:
    parts = [f"### `{title}`"]
    if "summary" in operation:
        parts.append(operation["summary"])
    if arguments := operation.get("parameters"):
        rows = [
            f"| `{a['name']}` | {_type(a['schema'])} | {_meaning(a['schema'])} |" for a in arguments
        ]
        parts.append("\n".join(["| argument | type | meaning |", "|---|---|---|", *rows]))
    answers = [
        f"| {code} | {_cell(answer['description'])} |"
        for code, answer in operation["responses"].items()
    ]
    return [*parts, "\n".join(["| status | meaning |", "|---|---|", *answers])]


def _document(name: str, schema: dict[str, Any]) -> list[str]:
    required = set(schema.get("required", ()))
    rows = [
        f"| `{key}` | {_type(value)} | {'yes' if key in required else 'no'} | {_meaning(value)} |"
        for key, value in schema["properties"].items()
    ]
    table = ["| member | type | always there | meaning |", "|---|---|---|---|", *rows]
    about = _cell(schema.get("description", ""))
    return [part for part in (f"### {name}", about, "\n".join(table)) if part]


def with_keys(page: str, sections: Mapping[str, type[BaseModel]]) -> str:
    """Return a page that is written by hand, with the tables of today's keys."""
    text = (DOCS / page).read_text()
    return KEYS.sub(lambda found: f"{found[1]}\n{_keys(sections[found[2]])}\n\n", text)


def capacity() -> str:
    """Return the page of loads, with a table of what some need."""
    text = with_keys("reference/capacity-loads.md", CAPACITY)
    return NEEDS.sub(lambda found: f"{found[1]}\n{_needs()}\n\n", text)


def _needs() -> str:
    head = ("jobs an hour", "time", "lines", "interface masters", "cores of the database", "slots")
    rows = [
        f"| {' | '.join((*head, 'hosts', 'first full, without the slots'))} |",
        "|---" * 8 + "|",
    ]
    for jobs, time, lines in LOADS:
        load = Load.model_validate({"jobs_per_hour": jobs, "job_time": time, "lines": lines})
        found = needs(load, SHIPPED)
        first = first_full([each for each in found.resources if each.name != "slots"])
        at = f"{NAMES[first.name]}, at {number(jobs * first.carries)}"
        slots = found.slots
        cells = (found.interface_masters or "none", found.database_cores, slots.count, slots.hosts)
        rows.append(f"| {jobs:,} | {time} | {lines:,} | {' | '.join(map(str, cells))} | {at} |")
    return "\n".join(rows)


def _keys(model: type[BaseModel]) -> str:
    hints = get_type_hints(model, include_extras=True)
    properties = model.model_json_schema().get("properties", {})
    rows = ["| key | type | default | meaning | example |", "|---|---|---|---|---|"]
    for key, field in model.model_fields.items():
        cells = (_written(hints[key]), _default(key, field, properties), field.description)
        meaning = " | ".join(_cell(str(cell)) for cell in cells)
        rows.append(f"| `{key}` | {meaning} | `{_example(field)}` |")
    return "\n".join(rows)


def _written(hint: Any) -> str:
    """Return the word for the values that a type hint allows."""
    word = _mark(hint)
    if word is not None:
        return word
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return "section"
    if get_origin(hint) is Annotated:
        return _written(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return "list"
    choices = [choice for choice in get_args(hint) if choice is not type(None)]
    return _written(choices[0]) if choices else _WORDS[hint]


def _mark(hint: Any) -> str | None:
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    words = [str(mark) for mark in marks if isinstance(mark, Written)]
    return words[-1] if words else None  # before it are those of a type that this one is made of


def _default(key: str, field: FieldInfo, properties: dict[str, Any]) -> str:
    if field.is_required():
        return "required"
    if key == "max_vms":
        return "`master.max_vms`"
    default = properties.get(key, {}).get("default")
    if default is None:
        return "none"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _example(field: FieldInfo) -> str:
    (example,) = field.examples or ("",)
    if isinstance(example, list):
        return f"[{', '.join(example)}]"
    return f"'{example}'" if str(example).startswith("*") else str(example)  # else a YAML alias


def metrics() -> str:
    """Return the page of the metrics."""
    gauges = [gauge.family for gauge in GAUGES]
    parts = [HEAD + "# Metrics", METRICS, "## Gauges", ABOUT_GAUGES, _families(gauges)]
    parts += ["## Counters and histograms", ABOUT_COUNTERS, _families(Instruments("").families)]
    return "\n\n".join(parts) + "\n"


def _families(families: list[Family]) -> str:
    rows = ["| metric | type | labels | unit | meaning |", "|---|---|---|---|---|"]
    for family in families:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        cells = (f"`{family.full_name}`", family.type, labels, family.unit, _cell(family.meaning))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _type(schema: dict[str, Any]) -> str:
    """Return what a value looks like, in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return _cell(", ".join(f"`{json.dumps(value)}`" for value in schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kinds = schema.get("type", "any")
    word = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    return f"{word} ({schema['format']})" if "format" in schema else word


def _meaning(schema: dict[str, Any]) -> str:
    return _cell(schema.get("description", ""))


def _text(help_: str | None) -> str:
    """Return a docstring as text; what click keeps, and what is indented, stands in a block."""
    paragraphs = []
    for paragraph in inspect.cleandoc(help_ or "").split("\n\n"):
        body = paragraph.removeprefix("\b\n")
        kept = body != paragraph or body.startswith("    ")
        body = textwrap.dedent(body)
        paragraphs.append(f"```\n{body}\n```" if kept else " ".join(body.split()))
    return "\n\n".join(p for p in paragraphs if p)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    for path, text in pages().items():
        (DOCS / path).write_text(text)
