# SPDX-License-Identifier: GPL-2.0-only
"""What doctor finds out about destinations, with servers on the loopback alone."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet import reactor

from latent_libvirt.config import PoolConfig, load
from latent_libvirt.doctor.allowed import check
from latent_libvirt.doctor.finding import Status

POOL = """\
master: {{max_vms: 1}}
hosts:
  alpha: {{uri: 'qemu:///system', slots: 1, storage_pool: default}}
labels:
  none: {{image: debian-12}}
  some:
    image: debian-12
    network: {{allow: [{allow}]}}
"""


def config(directory: Path, allow: str) -> PoolConfig:
    (directory / "pool.yaml").write_text(POOL.format(allow=allow))
    return load(directory / "pool.yaml")


def private(port: int) -> str:
    return f"{{name: localhost, port: {port}, private: true}}"


async def found(directory: Path, allow: str) -> list[tuple[Status, str]]:
    clock: Any = reactor
    findings = await check(config(directory, allow), clock)
    assert {finding.check for finding in findings} == {"network of some"}
    return [(finding.status, finding.brief) for finding in findings]


@pytest_twisted.ensureDeferred
async def test_destinations_that_answer_are_fine(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        assert await found(tmp_path, private(port)) == [
            (Status.FINE, "all 1 allowed destinations can be reached from this machine")
        ]


@pytest_twisted.ensureDeferred
async def test_others_are_named_with_the_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    nobody, hidden = await found(tmp_path, f"{private(port)}, 'localhost:{port}'")

    assert nobody[0] == hidden[0] == Status.WARNING
    assert nobody[1].startswith(f"localhost:{port} cannot be reached, ")
    refused = f"guests are refused localhost:{port}: localhost has the address "
    assert hidden[1].startswith(refused)
