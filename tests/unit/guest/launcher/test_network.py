# SPDX-License-Identifier: GPL-2.0-only
"""The network of a machine."""

from __future__ import annotations

from pathlib import Path

from latent_libvirt.guest.launcher.network import has_default_route


def test_a_default_route_is_recognised(tmp_path: Path) -> None:
    table = tmp_path / "route"
    header = "Iface\tDestination\tGateway\tFlags\n"
    table.write_text(f"{header}eth0\t0002000A\t00000000\t0001\n")
    assert not has_default_route(table)

    table.write_text(f"{header}eth0\t00000000\t0202000A\t0003\n")
    assert has_default_route(table)
