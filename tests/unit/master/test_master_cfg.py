# SPDX-License-Identifier: GPL-2.0-only
"""What a master.cfg says of a pool."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.config.errors import ConfigErrors
from buildbot.interfaces import IWorker
from buildbot.plugins import worker as worker_plugins
from zope.interface.verify import verifyClass

from latent_libvirt import Pool
from latent_libvirt.pool.lease import LeaseReport

REPORT = LeaseReport(
    vm_id="aa",
    label="small",
    worker="small-1",
    host="here",
    domain="latent-libvirt-1",
    image="bb",
    failure="",
    phases={"boot": 8.0},
)

POOL = """
master: {{max_vms: {max_vms}{more}}}
hosts:
  here: {{uri: "test:///default", slots: 4, storage_pool: default}}
labels:
  small: {{image: debian-12, max_vms: {small}}}
  large: {{image: debian-12}}
"""


def pool(directory: Path, *, max_vms: int = 3, small: int = 2, more: str = "") -> Pool:
    path = directory / "pool.yaml"
    path.write_text(POOL.format(max_vms=max_vms, small=small, more=more))
    return Pool.from_yaml(path)


def test_there_is_a_worker_for_each_vm_that_a_label_may_have(tmp_path: Path) -> None:
    """Upstream wants each worker written down by hand (buildbot #2992, #4993)."""
    made = pool(tmp_path)

    names = ["small-1", "small-2", "large-1", "large-2", "large-3"]
    assert [worker.name for worker in made.workers()] == names
    assert made.worker_names("small") == ["small-1", "small-2"]


def test_masters_of_one_database_can_name_their_workers_apart(tmp_path: Path) -> None:
    assert pool(tmp_path, more=", name: one").worker_names("small") == [
        "one-small-1",
        "one-small-2",
    ]


def test_a_drained_label_keeps_a_worker_so_that_its_builders_stay_valid(tmp_path: Path) -> None:
    assert pool(tmp_path, small=0).worker_names("small") == ["small-1"]


def test_an_unknown_label_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        pool(tmp_path).worker_names("medium")

    assert "label 'medium' is not configured" in caught.value.errors[0]
    assert "The pool's labels: small, large." in caught.value.errors[0]


def test_equal_files_make_equal_pools_and_a_changed_one_is_seen(tmp_path: Path) -> None:
    """What Buildbot compares at a reconfig."""
    assert pool(tmp_path) == pool(tmp_path)
    assert pool(tmp_path) != pool(tmp_path, small=1)


@pytest_twisted.ensureDeferred
async def test_a_reconfig_brings_its_observers_to_the_pool_that_runs(tmp_path: Path) -> None:
    running, made_by_reconfig = pool(tmp_path), pool(tmp_path)
    running.configured = True
    told: list[LeaseReport] = []
    made_by_reconfig.add_observer(told.append)

    await running.reconfigServiceWithSibling(made_by_reconfig)
    running.lease_has_ended(REPORT)

    assert told == [REPORT]


def fail(_report: LeaseReport) -> None:
    raise RuntimeError


def test_an_observer_that_fails_keeps_no_other_from_being_told(tmp_path: Path) -> None:
    made = pool(tmp_path)
    told: list[LeaseReport] = []
    made.add_observer(fail)
    made.add_observer(told.append)

    made.lease_has_ended(REPORT)

    assert told == [REPORT]


def test_a_broken_file_is_told_as_buildbot_tells_its_own_errors(tmp_path: Path) -> None:
    (tmp_path / "pool.yaml").write_text("master: {max_vmz: 1}\n")

    with pytest.raises(ConfigErrors) as caught:
        Pool.from_yaml(tmp_path / "pool.yaml")

    assert any("pool.yaml:1:" in error and "max_vms" in error for error in caught.value.errors)


def test_buildbot_finds_the_worker_among_its_plugins() -> None:
    assert verifyClass(IWorker, worker_plugins.LibvirtLatentWorker)


def test_a_worker_made_by_hand_needs_no_password(tmp_path: Path) -> None:
    by_hand = worker_plugins.LibvirtLatentWorker("mine", label="small", pool=pool(tmp_path))

    assert by_hand.pool_name == "latent_libvirt"


@pytest.mark.parametrize("arguments", [("pool.yaml",), (Path("pool.yaml"),), (), ({},), (None,)])
def test_a_pool_that_is_not_made_from_yaml_is_told_how(arguments: tuple[object, ...]) -> None:
    with pytest.raises(ConfigErrors) as caught:
        Pool(*arguments)

    assert caught.value.errors == [
        "a pool is made by Pool.from_yaml('pool.yaml'), not by calling Pool itself"
    ]


@pytest.mark.parametrize(
    "name", [5, None, "", "a b", "../other", "/tmp/x", "a\0", "a\n", "a" * 300]
)
def test_a_name_that_no_socket_can_have_is_told(name: Any) -> None:
    with pytest.raises(ConfigErrors) as caught:
        Pool.from_yaml("pool.yaml", name=name)

    assert caught.value.errors[0].startswith("Pool.from_yaml(): name has to be a text")


@pytest.mark.parametrize("path", [None, 3, {"master": {}}, ["pool.yaml"]])
def test_what_is_no_path_is_told(path: Any) -> None:
    with pytest.raises(ConfigErrors) as caught:
        Pool.from_yaml(path)

    assert caught.value.errors[0].startswith("Pool.from_yaml() takes the path of a YAML file, like")


@pytest.mark.parametrize("label", [5, None, ["small"]], ids=str)
def test_a_label_that_is_no_name_is_refused_in_one_sentence(tmp_path: Path, label: object) -> None:
    with pytest.raises(ConfigErrors, match="takes the name of a label"):
        pool(tmp_path).worker_names(label)


@pytest.mark.parametrize(
    ("call", "example"),
    [
        (lambda pool: pool.from_yaml(), 'Pool.from_yaml("pool.yaml")'),
        (lambda pool: pool.from_yaml("pool.yaml", "arm"), 'Pool.from_yaml("pool.yaml")'),
        (lambda pool: pool.from_yaml("pool.yaml", label="arm"), 'Pool.from_yaml("pool.yaml")'),
        (lambda pool: pool.workers("small"), "pool.workers()"),
        (lambda pool: pool.worker_names(), 'pool.worker_names("debian-12")'),
        (lambda pool: pool.worker_names("small", "large"), 'pool.worker_names("debian-12")'),
        (
            lambda pool: pool.prioritize_builders(),
            'c["prioritizeBuilders"] = pool.prioritize_builders',
        ),
    ],
)
def test_a_wrong_call_in_master_cfg_is_one_sentence_with_an_example(
    tmp_path: Path, call: Callable[[Any], Any], example: str
) -> None:
    with pytest.raises(ConfigErrors) as caught:
        call(pool(tmp_path))
    (error,) = caught.value.errors
    assert error.startswith("wrong call (")
    assert error.endswith(f"; write, for example, {example}")


def test_help_shows_the_parameters_that_a_master_cfg_may_give() -> None:
    assert [*inspect.signature(Pool.from_yaml).parameters] == ["path", "name"]
    assert [*inspect.signature(Pool.worker_names).parameters] == ["self", "label"]
