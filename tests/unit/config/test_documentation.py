# SPDX-License-Identifier: GPL-2.0-only
"""The example works, and ``docs/reference/configuration.md`` has every key, with valid examples.

Its tables are made of the models (see tests/unit/test_documents.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from pydantic import BaseModel

from latent_libvirt.config import (
    DefaultsConfig,
    DestinationConfig,
    HostConfig,
    ImageConfig,
    LabelConfig,
    MasterConfig,
    NetworkConfig,
    PoolConfig,
    SparesConfig,
    load,
)
from latent_libvirt.config.hardware.devices import DeviceConfig
from latent_libvirt.config.hardware.disks import DiskConfig
from latent_libvirt.config.sections.spares import SparePeriod

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/reference/configuration.md").read_text()

SECTIONS: dict[str, type[BaseModel]] = {
    "master": MasterConfig,
    "hosts": HostConfig,
    "images": ImageConfig,
    "labels": LabelConfig,
    "disks": DiskConfig,
    "devices": DeviceConfig,
    "spares": SparesConfig,
    "periods": SparePeriod,
    "network": NetworkConfig,
    "network_groups": DestinationConfig,
    "defaults": DefaultsConfig,
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
    (text,) = re.findall(rf"^###? `{section}`\n(.*?)(?=^<!-- end)", GUIDE, re.MULTILINE | re.DOTALL)
    rows = [
        Row(*line.strip("| ").split(" | ")) for line in text.splitlines() if line.startswith("| `")
    ]
    return {row.key.strip("`"): row for row in rows}


def test_the_example_works() -> None:
    config = load(ROOT / "deploy/pool.example.yaml")
    labels = ["debian-12", "debian-12-large", "hermetic", "fetching", "arm", "fedora"]
    assert list(config.labels) == labels


def test_the_example_shows_every_kind_of_thing_but_the_defaults() -> None:
    text = (ROOT / "deploy/pool.example.yaml").read_text()
    missing = [
        key for model in SECTIONS.values() for key in model.model_fields if f"{key}:" not in text
    ]
    assert missing == []


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_has_a_row_and_every_row_a_key(section: str) -> None:
    assert list(table(section)) == list(SECTIONS[section].model_fields)


def test_every_section_has_a_table() -> None:
    assert [name for name in PoolConfig.model_fields if name not in SECTIONS] == []


@pytest.mark.parametrize(
    ("section", "key", "type_", "default"),
    [
        ("master", "max_vms", "number", "required"),
        ("master", "placement", "`spread`, `pack`", "`spread`"),
        ("master", "stop_within", "duration", "`3s`"),
        ("hosts", "vcpu_overcommit", "factor", "`1.0`"),
        ("hosts", "saved_state_space", "size", "`20GiB`"),
        ("labels", "drain", "`true`, `false`", "`false`"),
        ("labels", "max_vms", "number", "`master.max_vms`"),
        ("labels", "disk", "size", "none"),
        ("labels", "hosts", "list of names", "none"),
        ("labels", "spares", "number or section", "`0`"),
        (
            "labels",
            "network",
            "`user`, `none`, `{network: NAME}`, `{bridge: NAME}`, `{allow: [...]}`",
            "`user`",
        ),
        ("spares", "periods", "list", "`[]`"),
    ],
)
def test_types_and_defaults_are_as_people_write_them(
    section: str, key: str, type_: str, default: str
) -> None:
    row = table(section)[key]

    assert (row.type, row.default) == (type_, default)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_has_a_meaning(section: str) -> None:
    assert [key for key, row in table(section).items() if not row.meaning.endswith(".")] == []


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
