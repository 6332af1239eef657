# SPDX-License-Identifier: GPL-2.0-only
"""The examples of the README work as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from buildbot.plugins import util

from latent_libvirt.config import load


def _example(clone: Path, language: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", (clone / "README.md").read_text(), re.DOTALL)
    (block,) = blocks
    return str(block)


def test_its_examples_make_workers_for_every_vm(
    pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.yaml").write_text(_example(pytestconfig.rootpath, "yaml"))
    c: dict[str, Any] = {}
    master_cfg = _example(pytestconfig.rootpath, "python")
    exec(master_cfg, {"c": c, "util": util, "factory": util.BuildFactory()})
    assert len(c["workers"]) == load(tmp_path / "pool.yaml").labels["debian-12"].max_vms
    assert c["builders"][0].workernames == [worker.name for worker in c["workers"]]
