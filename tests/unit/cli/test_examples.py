# SPDX-License-Identifier: GPL-2.0-only
"""Files to copy from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from latent_libvirt.cli import main
from latent_libvirt.cli.examples import FILES, content, source
from latent_libvirt.config.load import load
from latent_libvirt.config.schema import schema_text

ROOT = Path(__file__).parents[3]


def test_all_of_them_are_written_and_said_what_they_are_for(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["examples", str(tmp_path / "here")])

    assert result.exit_code == 0
    for name, purpose in FILES.items():
        assert (tmp_path / "here" / name).read_text() == content(name)
        assert f"{name}: {purpose}\n" in result.output


@pytest.mark.parametrize("name", [name for name in FILES if re.search(r"pool\b.*yaml$", name)])
def test_each_pool_is_good_and_leads_editors_to_the_schema_beside_it(
    tmp_path: Path, name: str
) -> None:
    CliRunner().invoke(main, ["examples", str(tmp_path)])
    pool = tmp_path / name

    load(pool)
    found = re.match(r"# yaml-language-server: \$schema=(\S+)\n", pool.read_text())
    assert found is not None
    assert (pool.parent / found[1]).read_text() == schema_text()


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_overwritten_and_then_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")

    result = CliRunner().invoke(main, ["examples", str(tmp_path)])

    assert result.exit_code == 1
    assert f"{tmp_path / name} is there already" in result.output
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]


def test_the_wheel_carries_each_of_them_and_the_docs_that_messages_name() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    for name in FILES.keys() - {"pool.schema.json"}:  # it is made from the models
        if source(name).is_relative_to(ROOT / "deploy"):
            assert included[f"deploy/{name}"] == f"latent_libvirt/examples/{name}"
        else:
            assert source(name).is_relative_to(ROOT / "src/latent_libvirt")
    assert included["docs"] == "latent_libvirt/docs"
