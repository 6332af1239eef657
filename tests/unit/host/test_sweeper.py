# SPDX-License-Identifier: GPL-2.0-only
"""What a sweep takes for alive on its host; real sweeps are in tests/integration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from latent_libvirt.host.sweep import Survey
from latent_libvirt.host.sweeper import Sweeper


def host(name: str, uri: str, uuid: str) -> Any:
    return SimpleNamespace(name=name, uuid=uuid, connection=SimpleNamespace(host=name, uri=uri))


HERE = host("alpha", "qemu+ssh://alpha/system", "a")


@pytest.mark.parametrize(
    ("other", "is_live"),
    [
        (HERE, True),
        (host("beta", "qemu+ssh://beta/system", "b"), False),
        (host("beta", "qemu+ssh://beta/system", "a"), True),
        (host("beta", "qemu+ssh://beta/system", ""), True),
        (host("alpha", "qemu+tls://alpha/system", "b"), True),
        (host("beta", "qemu+ssh://alpha/system", "b"), True),
    ],
    ids=["here", "elsewhere", "a twin", "nobody knows", "another URI", "another name"],
)
def test_only_a_vm_that_is_certainly_elsewhere_keeps_no_disk_here(
    other: Any, *, is_live: bool
) -> None:
    machines = {"aa": SimpleNamespace(host=other)}
    context: Any = SimpleNamespace(machines=machines, reactor=Clock())

    live = Sweeper(HERE, context, {})._live(Survey("a", (), ()))

    assert ("aa" in live) is is_live
