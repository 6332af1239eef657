# SPDX-License-Identifier: GPL-2.0-only
"""The demo's files agree with each other, and with Buildbot; tests/integration runs the demo."""

from __future__ import annotations

import re
import shutil
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from buildbot.config.master import FileLoader

from latent_libvirt.config.load import load
from latent_libvirt.config.schema import schema_text
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


def test_the_pools_file_of_a_run_names_a_schema_that_is_there(run: Any, tmp_path: Path) -> None:
    run.write_pool(tmp_path / "pool.yaml", SimpleNamespace(uri="qemu+unix:///system?socket=/s"))

    config = load(tmp_path / "pool.yaml")
    (host,) = config.hosts.values()
    assert host.uri == "qemu+unix:///system?socket=/s"
    modeline, _, _rest = (tmp_path / "pool.yaml").read_text().partition("\n")
    schema = tmp_path / modeline.partition("$schema=")[2]
    assert schema.read_text() == schema_text()


NODE = """<node><cpu><mhz>1</mhz><model>i686</model><active>1</active><nodes>1</nodes>
<sockets>1</sockets><cores>1</cores><threads>1</threads></cpu><memory>1024</memory>
<pool type="dir"><name>default</name><uuid>dfe224cb-28fb-8dd0-c4b2-64eb3f0f4566</uuid>
<target><path>/default</path></target>{volumes}</pool></node>"""

VOLUME = """<volume type="file"><name>{name}</name><capacity>1</capacity>
<target><path>/default/{name}</path><format type="raw"/></target></volume>"""

FROZEN = f"latent-libvirt.frozen.{'a' * 12}.1.bb.state"
ITS_OVERLAY = f"latent-libvirt.overlay.{'a' * 12}.1.bb.qcow2"
ANOTHER = f"latent-libvirt.overlay.{'a' * 12}.2.cc.qcow2"


@pytest.fixture
def run(demo: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the program, as a module."""
    monkeypatch.syspath_prepend(str(demo))
    return import_module("run")


def host(directory: Path, *volumes: str) -> Any:
    """Return a hypervisor with a storage pool that has *volumes*."""
    node = directory / "node.xml"
    node.write_text(NODE.format(volumes="".join(VOLUME.format(name=each) for each in volumes)))
    return SimpleNamespace(uri=f"test://{node}")


def test_a_vm_that_somebody_has_frozen_is_no_failure(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run.check_nothing_is_left(host(tmp_path, FROZEN, ITS_OVERLAY, "latent-libvirt.image.x"))

    assert "VM bb is frozen. It is deleted now" in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], [FROZEN, ITS_OVERLAY]])
def test_what_a_master_has_left_behind_is_a_failure(
    run: Any, tmp_path: Path, more: list[str]
) -> None:
    with pytest.raises(Exception, match=f"left behind: {re.escape(ANOTHER)}$"):
        run.check_nothing_is_left(host(tmp_path, ANOTHER, *more))


def test_nobody_has_frozen_a_vm_of_a_run_that_nobody_used(run: Any, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="left behind: "):
        run.check_nothing_is_left(host(tmp_path, FROZEN, ITS_OVERLAY), may_keep=False)


@pytest.mark.parametrize("state", ["held", "spare", "freezing", "job"])
def test_held_vms_and_spares_stay_on_purpose(run: Any, state: str) -> None:
    kept = run.kept_vms([SimpleNamespace(vm_id="dd", state=state), None], [ANOTHER])

    assert kept == ({} if state == "job" else {"dd": state})
