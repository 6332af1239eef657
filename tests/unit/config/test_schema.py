# SPDX-License-Identifier: GPL-2.0-only
"""The JSON schema that editors complete a pool.yaml from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from latent_libvirt.config import HostConfig, ImageConfig, LabelConfig, MasterConfig
from latent_libvirt.config.schema import modeline, schema_text

ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT / "docs/reference/pool.schema.json"


def test_the_published_schema_is_that_of_the_models() -> None:
    assert json.loads(PUBLISHED.read_text()) == json.loads(schema_text()), (
        "renew it: latent-libvirt schema > docs/reference/pool.schema.json"
    )


def test_every_key_is_offered_with_its_meaning() -> None:
    models: list[type[BaseModel]] = [MasterConfig, HostConfig, ImageConfig, LabelConfig]
    definitions = json.loads(schema_text())["$defs"]
    for model in models:
        properties = definitions[model.__name__]["properties"]
        assert list(properties) == list(model.model_fields)
        assert [key for key, schema in properties.items() if not schema.get("description")] == []


def test_sizes_are_written_with_their_unit() -> None:
    """A schema of the parsed value would offer numbers of bytes, which the file refuses."""
    memory = json.loads(schema_text())["$defs"]["LabelConfig"]["properties"]["memory"]
    plain, _range = memory["oneOf"]
    assert (plain["type"], memory["default"]) == ("string", "512MiB")
    assert re.fullmatch(plain["pattern"], "2GiB")
    assert not re.fullmatch(plain["pattern"], "2147483648")


@pytest.mark.parametrize("example", [*(ROOT / "deploy").rglob("pool*.yaml")], ids=str)
def test_each_example_leads_editors_to_the_schema(example: Path) -> None:
    first = example.read_text().splitlines()[0]
    assert first.startswith(modeline(""))
    assert (example.parent / first.removeprefix(modeline(""))).resolve() == PUBLISHED
