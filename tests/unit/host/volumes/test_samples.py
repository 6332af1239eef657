# SPDX-License-Identifier: GPL-2.0-only
"""Connections whose streams need no reading back."""

from __future__ import annotations

import pytest

from latent_libvirt.host.volumes.samples import keeps_content


@pytest.mark.parametrize(
    ("uri", "keeps"),
    [
        ("qemu:///system", True),
        ("qemu+unix:///session?socket=/run/x", True),
        ("qemu+ssh://root@alpha/system", True),
        ("qemu+libssh2://alpha/system", True),
        ("qemu://alpha/system", True),  # which is TLS
        ("qemu+tls://alpha/system", True),
        ("qemu+tcp://alpha/system", False),
        ("qemu+ext://alpha/system?command=/x", False),
    ],
)
def test_only_connections_that_check_what_they_carry_are_trusted(uri: str, *, keeps: bool) -> None:
    assert keeps_content(uri) is keeps
