# SPDX-License-Identifier: GPL-2.0-only
"""The example works, and ``docs/reference/configuration.md`` tells every key as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from pydantic import BaseModel

from latent_libvirt.config import (
    HostConfig,
    ImageConfig,
    LabelConfig,
    MasterConfig,
    NetworkConfig,
    PoolConfig,
    SparesConfig,
    load,
)

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/reference/configuration.md").read_text()

SECTIONS: dict[str, type[BaseModel]] = {
    "master": MasterConfig,
    "hosts": HostConfig,
    "images": ImageConfig,
    "labels": LabelConfig,
    "spares": SparesConfig,
    "network": NetworkConfig,
}


class Row(NamedTuple):
    """A row of a table of keys."""

    key: str
    type: str
    default: str
    meaning: str
    example: str


def table(section: str) -> dict[str, Row]:
    """Return the rows of the table below the heading of *section*."""
    (text,) = re.findall(rf"^###? `{section}`\n(.*?)(?=^##|\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    rows = [
        Row(*line.strip("| ").split(" | ")) for line in text.splitlines() if line.startswith("| `")
    ]
    return {row.key.strip("`"): row for row in rows}


def test_the_example_works() -> None:
    config = load(ROOT / "deploy/pool.example.yaml")
    assert list(config.labels) == ["debian-12", "debian-12-large", "fedora"]


def test_the_example_shows_every_kind_of_thing_but_the_defaults() -> None:
    text = (ROOT / "deploy/pool.example.yaml").read_text()
    missing = [
        key for model in SECTIONS.values() for key in model.model_fields if f"{key}:" not in text
    ]
    assert missing == []


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_has_a_row_and_every_row_a_key(section: str) -> None:
    assert list(table(section)) == list(SECTIONS[section].model_fields)


def test_every_section_is_told() -> None:
    assert [name for name in PoolConfig.model_fields if name not in SECTIONS] == []


@pytest.mark.parametrize("section", SECTIONS)
def test_every_default_is_told(section: str) -> None:
    model = SECTIONS[section]
    schema = model.model_json_schema()["properties"] if section != "network" else {}
    for key, row in table(section).items():
        if model.model_fields[key].is_required():
            assert row.default == "required", key
        elif key == "max_vms":
            assert row.default == "`master.max_vms`"
        else:
            default = schema.get(key, {}).get("default")
            written = default if isinstance(default, str) else json.dumps(default)
            assert row.default == ("none" if default is None else f"`{written}`"), key


@pytest.mark.parametrize("section", SECTIONS)
def test_every_example_is_valid(section: str) -> None:
    model = SECTIONS[section]
    required = {
        k: yaml.safe_load(r.example.strip("`"))
        for k, r in table(section).items()
        if r.default == "required"
    }
    for key, row in table(section).items():
        value = yaml.safe_load(row.example.strip("`"))
        model.model_validate({**required, key: value})
