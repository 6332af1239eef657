# SPDX-License-Identifier: GPL-2.0-only
"""What the two functions make of a ``master.cfg``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from buildbot.config.errors import ConfigErrors
from buildbot.config.master import MasterConfig

from latent_libvirt import Pool
from latent_libvirt.multimaster import Common, interface_master, scheduler_master

COMMON = Common(
    "postgresql+psycopg2://buildbot@db/buildbot", "ws://router:8080/ws", "https://ci.example.org/"
)
POOL = """
master: {{max_vms: 2, {name}}}
hosts: {{here: {{uri: "qemu:///system", slots: 2, storage_pool: builds}}}}
labels: {{debian-12: {{image: debian-12, vcpus: 1, memory: 1GiB}}}}
"""


def pool(directory: Path, *, name: str = "name: north") -> Pool:
    (directory / "pool.yaml").write_text(POOL.format(name=name))
    return Pool.from_yaml(directory / "pool.yaml")


def names(c: dict[str, Any]) -> list[str]:
    return [service.name for service in c["services"]]


def test_buildbot_accepts_a_scheduler_master() -> None:
    c: dict[str, Any] = {"buildbotNetUsageData": None}
    scheduler_master(c, COMMON, www={"port": 8010, "plugins": {}})

    checked = MasterConfig.loadFromDict(c, "master.cfg")

    assert checked.multiMaster
    assert checked.buildbotURL == "https://ci.example.org/"
    assert checked.mq == {"type": "wamp", "router_url": "ws://router:8080/ws", "realm": "buildbot"}
    assert checked.www["port"] == 8010


def test_an_interface_master_has_the_workers_of_its_pool_and_no_web_server(tmp_path: Path) -> None:
    c: dict[str, Any] = {"buildbotNetUsageData": None}
    interface_master(c, COMMON, workers="tcp:9989", pool=pool(tmp_path))

    checked = MasterConfig.loadFromDict(c, "master.cfg")

    assert [worker.name for worker in checked.workers] == ["north-debian-12-1", "north-debian-12-2"]
    assert checked.www["port"] is None
    assert "latent_libvirt" in names(c)


def test_a_pool_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="add `name: NAME` to the section `master`"):
        interface_master({}, COMMON, workers="tcp:9989", pool=pool(tmp_path, name=""))


def test_an_endpoint_that_guests_cannot_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="with TLS is written like ssl"):
        interface_master({}, COMMON, workers="tls:9989", pool=pool(tmp_path))


def test_what_the_configuration_has_already_stays(tmp_path: Path) -> None:
    mine = pool(tmp_path)
    c: dict[str, Any] = {
        "buildbotURL": "https://elsewhere/",
        "services": [mine],
        "workers": [],
        "protocols": {"pb": {"port": "tcp:1"}},
    }
    interface_master(c, COMMON, workers="tcp:9989", pool=mine)

    assert c["buildbotURL"] == "https://elsewhere/"
    assert c["workers"] == []
    assert c["protocols"] == {"pb": {"port": "tcp:1"}}
    assert len(set(names(c))) == len(names(c))


def test_a_reconfig_sees_no_change_where_there_is_none() -> None:
    first: dict[str, Any] = {}
    second: dict[str, Any] = {}
    for c in (first, second):
        scheduler_master(c, COMMON, www={"port": 8010})

    assert first["db"] == second["db"]
    assert first["services"] == second["services"]
