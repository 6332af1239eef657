# SPDX-License-Identifier: GPL-2.0-only
"""Pools of stressed masters: each is a pool.yaml that the product accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from latent_libvirt.config import PoolConfig
from latent_libvirt.config.load import load
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.stress.in_master.pool import label_of, operators_pool, pool_yaml, private_pool
from latent_libvirt.stress.profile.models import DeploymentProfile

OPERATORS = """\
master: {name: production, max_vms: 50, metrics: 127.0.0.1:9177}
hosts:
  alpha: {uri: qemu:///system, slots: 20, storage_pool: builds}
labels:
  no: {image: debian-12}
  large: {image: debian-12, memory: 2GiB}
"""


def profile(**given: Any) -> DeploymentProfile:
    return DeploymentProfile.model_validate({"hosts": 2, "slots": 3} | given)


def loaded(pool: dict[str, Any], tmp_path: Path) -> PoolConfig:
    (tmp_path / "written.yaml").write_text(yaml.safe_dump(pool))
    return load(tmp_path / "written.yaml")


@pytest.fixture
def operators(tmp_path: Path) -> str:
    (tmp_path / "pool.yaml").write_text(OPERATORS)
    return str(tmp_path / "pool.yaml")


def test_simulated_hosts_are_a_pool(tmp_path: Path) -> None:
    pool = loaded(pool_yaml(tmp_path, profile(), name="single"), tmp_path)

    assert [host.slots for host in pool.hosts.values()] == [3, 3]


@pytest.mark.parametrize(("start", "kind"), [("resumed", "resume"), ("booted", "boot")])
def test_private_hosts_are_a_pool(tmp_path: Path, start: str, kind: str) -> None:
    wanted = profile(hypervisor="private", start=start, memory="512MiB")

    pool = loaded(private_pool(["qemu:///session"], wanted, name="single"), tmp_path)

    assert pool.labels[label_of(wanted)].start == kind
    assert pool.labels[label_of(wanted)].memory == 512 * 2**20
    assert pool.master.max_vms == 3


def test_an_operators_pool_is_capped_named_and_without_metrics(
    tmp_path: Path, operators: str
) -> None:
    wanted = profile(hypervisor="pool", pool=operators, label="large")

    pool = loaded(operators_pool(wanted, name="interface-1"), tmp_path)

    assert (pool.master.name, pool.master.max_vms, pool.master.metrics) == ("interface-1", 6, None)
    assert pool.hosts == load(operators).hosts
    assert pool.labels == load(operators).labels
    assert label_of(wanted) == "large"


def test_the_first_label_runs_jobs_unless_another_is_named(operators: str) -> None:
    assert label_of(profile(hypervisor="pool", pool=operators)) == "no"


def test_a_label_that_is_not_there_is_reported(operators: str) -> None:
    with pytest.raises(ConfigurationError, match="has no label larg") as caught:
        label_of(profile(hypervisor="pool", pool=operators, label="larg"))

    assert "did you mean 'large'?" in str(caught.value)
