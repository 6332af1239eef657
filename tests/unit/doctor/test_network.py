# SPDX-License-Identifier: GPL-2.0-only
"""Which labels' workers are said to be overheard. Networks are real in tests/integration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from latent_libvirt.config.listener import Listener
from latent_libvirt.doctor.finding import Status
from latent_libvirt.doctor.network import _overheard
from latent_libvirt.host.domains.domain_xml import Port
from latent_libvirt.host.inspection import SeenNetwork
from latent_libvirt.host.networks.ports import Fitting

HERE, REMOTE = "qemu:///system", "qemu+ssh://alpha/system"
PLAIN, TLS = "tcp:9989", "ssl:9989:privateKey=key.pem:certKey=chain.pem"


@pytest.mark.parametrize(
    ("uri", "leads_outside", "endpoint", "is_warned"),
    [
        (HERE, False, PLAIN, False),
        (HERE, True, PLAIN, True),
        (REMOTE, False, PLAIN, True),
        (REMOTE, True, PLAIN, True),
        (HERE, True, TLS, False),
        (REMOTE, False, TLS, False),
        (REMOTE, False, None, False),
    ],
)
def test_workers_without_tls_are_warned_of_where_others_may_listen(
    *, uri: str, leads_outside: bool, endpoint: str | None, is_warned: bool
) -> None:
    listener = None if endpoint is None else Listener("master.cfg", 3, endpoint)
    tested: Any = SimpleNamespace(listener=listener, config=SimpleNamespace(uri=uri))
    fitting = Fitting(Port(isolated=False, filter=None))
    seen = SeenNetwork(known=True, fitting=fitting, silence=0, leads_outside=leads_outside)

    found = list(_overheard("network of debian-12", "debian-12", seen, tested))

    assert [finding.status for finding in found] == [Status.WARNING] * is_warned
    for finding in found:
        assert "workers of debian-12 come to their master without TLS" in finding.brief
        assert "'ssl:9989:privateKey=...:certKey=...'" in str(finding.resolution)
