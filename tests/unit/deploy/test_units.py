# SPDX-License-Identifier: GPL-2.0-only
"""What all units for systemd have in common."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from latent_libvirt.master.workers.port.descriptors import MOST_DESCRIPTORS

DEPLOY = Path(__file__).parents[3] / "deploy"
UNITS = sorted(str(unit.relative_to(DEPLOY)) for unit in DEPLOY.rglob("*.service"))


@pytest.mark.parametrize("unit", UNITS)
def test_a_service_may_open_as_many_files_as_a_master_asks_for(unit: str) -> None:
    (limit,) = re.findall(r"^LimitNOFILE=(\d+)$", (DEPLOY / unit).read_text(), re.MULTILINE)

    assert int(limit) >= MOST_DESCRIPTORS


def test_each_way_to_deploy_has_its_units() -> None:
    assert UNITS == [
        "multimaster/systemd/buildbot-master@.service",
        "multimaster/systemd/crossbar.service",
        "single/buildbot-master.service",
    ]
