# SPDX-License-Identifier: GPL-2.0-only
"""What ``buildbot checkconfig`` says of the settings of the job API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("www", "warns"),
    [
        ("dict(port='tcp:8010')", True),
        ("dict(port=1, authz=util.Authz(allowRules=[util.AnyEndpointMatcher(role='ci')]))", False),
        ("dict(port=1, authz=util.Authz([util.AnyControlEndpointMatcher(role='ci')]))", True),
        ("dict()", False),
    ],
    ids=["open to all", "whom authz lets", "a rule about actions alone", "nothing served"],
)
def test_buildbot_checkconfig_says_what_stays_open_to_others_with_read_token(
    tmp_path: Path, www: str, *, warns: bool
) -> None:
    master_cfg = f"""
from buildbot.plugins import util, worker
c = BuildmasterConfig = dict(
    services=[util.JobApi(tokens="tokens.json", read="token")],
    workers=[worker.LocalWorker("w")],
    builders=[util.BuilderConfig(name="b", workernames=["w"], factory=util.BuildFactory())],
    protocols=dict(pb=dict(port="tcp:9989")),
    multiMaster=True,
    buildbotNetUsageData=None,
    www={www},
)
"""
    (tmp_path / "master.cfg").write_text(master_cfg)
    buildbot = Path(sys.executable).with_name("buildbot")

    done = subprocess.run(
        [buildbot, "checkconfig", "master.cfg"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "Config file is good!" in done.stdout
    lines = [line for line in done.stderr.splitlines() if "read='token'" in line]
    assert [("ConfigWarning:" in line and "/api/v2" in line) for line in lines] == [True] * warns
