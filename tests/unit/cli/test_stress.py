# SPDX-License-Identifier: GPL-2.0-only
"""What ``latent-libvirt stress`` refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from latent_libvirt.cli import main
from latent_libvirt.cli import stress as module


def refusal(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["stress", *arguments])
    assert result.exit_code == 1
    return result.output


def test_a_profile_that_is_not_there_is_reported(tmp_path: Path) -> None:
    assert "none.yaml: cannot be read" in refusal("none.yaml", "--report", str(tmp_path / "r"))


def test_a_profile_with_a_mistake_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "profile.yaml").write_text("jobs: {count: 1, shapes: {a: {}}}\nwithin: 1m\n")

    output = refusal(str(tmp_path / "profile.yaml"), "--report", str(tmp_path / "report"))

    assert "deployment: missing; add `deployment: {hosts: 2, slots: 10}`" in output
    assert not (tmp_path / "report").exists()


def test_the_report_of_another_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "index.html").touch()

    assert "is not empty" in refusal("small", "--report", str(tmp_path))


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXTRA", ("json", "no_such_module"))

    output = refusal("small", "--report", str(tmp_path / "report"))

    assert "not installed: no_such_module" in output
    assert "latent-libvirt[stress]" in output


def test_run_may_be_left_out_or_named(tmp_path: Path) -> None:
    arguments = ["none.yaml", "--report", str(tmp_path / "r")]

    assert refusal("run", *arguments) == refusal(*arguments)


def test_reports_that_are_not_there_cannot_be_compared(tmp_path: Path) -> None:
    assert "has no report that can be read" in refusal("compare", str(tmp_path), str(tmp_path))


def test_a_run_without_a_target_has_no_jobs_to_cancel(tmp_path: Path) -> None:
    assert "does not say where that run has posted jobs" in refusal("cancel", str(tmp_path))


def test_a_public_address_gets_no_load(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("llj_x")
    where = ["--url", "http://192.0.2.1/", "--token-file", str(token)]
    made = ["--report", str(tmp_path / "report"), "--cache", str(tmp_path / "cache")]

    assert "neither loopback nor listed" in refusal("small", *where, *made)
    assert not (tmp_path / "report").exists()


def test_a_profile_that_does_not_come_with_the_package_is_named(tmp_path: Path) -> None:
    output = refusal("smal", "--report", str(tmp_path / "report"))

    assert "there is no profile smal" in output
    assert "did you mean 'small'?" in output
