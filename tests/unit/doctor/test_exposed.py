# SPDX-License-Identifier: GPL-2.0-only
"""What guests of ``user`` networks reach on the host: who listens there, of the real kernel."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.config import LabelConfig
from latent_libvirt.doctor.exposed import MOST_SHOWN, Service, check, services, verdict
from latent_libvirt.doctor.finding import Status


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::1", "::"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Listen where guests come to."""
    is_six = ":" in request.param
    if is_six and not Path("/proc/net/if_inet6").exists():
        pytest.skip("the kernel has no IPv6, which no package brings")
    family = socket.AF_INET6 if is_six else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listening:
        yield listening.getsockname()[1]


def test_what_listens_on_the_loopback_or_everywhere_is_found_with_its_process(port: int) -> None:
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert Service(port, name) in services()


def test_what_does_not_listen_is_not_told() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert bound.getsockname()[1] not in {each.port for each in services()}


def test_a_kernel_that_says_nothing_or_nonsense_is_no_error(tmp_path: Path) -> None:
    assert services(tmp_path) == []
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text("head\n 0: zz:zz x 0A 0 0 0 0 0 7\n")
    (tmp_path / "net/tcp6").write_text("head\nshort\n")
    assert services(tmp_path) == []


def test_each_port_is_named_and_a_long_list_ends() -> None:
    found = [Service(5432, "postgres"), *(Service(9000 + n, "") for n in range(MOST_SHOWN))]
    told = verdict(["debian-12"], found)

    assert told.status is Status.WARNING
    assert "guests of debian-12 reach TCP ports of this host at 10.0.2.2: 5432 (postgres)" in (
        told.brief
    )
    assert told.brief.endswith(" and 1 more")
    assert "password" in str(told.resolution)


def test_nothing_is_fine() -> None:
    assert verdict(["debian-12"], []).status is Status.FINE


@pytest.mark.parametrize(
    ("uri", "network"),
    [
        ("qemu+ssh://alpha/system", "user"),
        ("qemu+tls://alpha/system", "user"),
        ("qemu://alpha/system", "user"),
        ("qemu:///system", {"bridge": "br0"}),
        ("qemu:///system", "none"),
    ],
)
def test_of_other_hosts_and_other_networks_nothing_is_said(uri: str, network: Any) -> None:
    label = LabelConfig.model_validate({"image": "debian-12", "network": network})
    config = SimpleNamespace(uri=uri)
    tested: Any = SimpleNamespace(labels={"debian-12": label}, config=config, listener=None)

    assert Deferred.fromCoroutine(check(tested)).result == []
