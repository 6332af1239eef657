# SPDX-License-Identifier: GPL-2.0-only
"""Files to copy from."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from latent_libvirt.cli import main
from latent_libvirt.cli.examples import FILES, source

ROOT = Path(__file__).parents[3]


def test_all_of_them_are_written_and_said_what_they_are_for(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["examples", str(tmp_path / "here")])

    assert result.exit_code == 0
    for name, purpose in FILES.items():
        assert (tmp_path / "here" / name).read_bytes() == source(name).read_bytes()
        assert f"{name}: {purpose}\n" in result.output


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

    for name in FILES:
        if source(name).is_relative_to(ROOT / "deploy"):
            assert included[f"deploy/{name}"] == f"latent_libvirt/examples/{name}"
        else:
            assert source(name).is_relative_to(ROOT / "src/latent_libvirt")
    assert included["docs"] == "latent_libvirt/docs"
