# SPDX-License-Identifier: GPL-2.0-only
"""The demo's files agree with each other, and with Buildbot; tests/integration runs the demo."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from buildbot.config.master import FileLoader

from private_files import write_secret
from strangers import may_a_stranger


@pytest.fixture
def demo(pytestconfig: pytest.Config) -> Path:
    """Give the directory of the demo."""
    return pytestconfig.rootpath / "deploy/demo"


def test_buildbot_accepts_its_master_cfg_and_pool(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where a master runs, and where pool.yaml is looked for
    for name in ("master.cfg", "pool.yaml"):
        shutil.copy(demo / name, tmp_path)
    write_secret(tmp_path / "web.password", "a password")
    config = FileLoader(str(tmp_path), "master.cfg").loadConfig()
    assert [builder.name for builder in config.builders] == ["package", "clean"]
    used = {name for builder in config.builders for name in builder.workernames}
    assert {worker.name for worker in config.workers} == used
    assert may_a_stranger(config.www["authz"]) == []


def test_what_is_downloaded_is_what_is_built(demo: Path) -> None:
    pins = re.findall(r"^(\S+)==(\S+) ", (demo / "packages.txt").read_text(), re.MULTILINE)
    master_cfg = (demo / "master.cfg").read_text()
    assert len(pins) == 3
    for name, version in pins:
        assert f'"{name}-{version}' in master_cfg
