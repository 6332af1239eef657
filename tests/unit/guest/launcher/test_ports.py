# SPDX-License-Identifier: GPL-2.0-only
"""The virtio-serial ports of a machine."""

from __future__ import annotations

from pathlib import Path

from latent_libvirt.guest.launcher.ports import find_port


def port(tmp_path: Path, device: str, name: str) -> None:
    (tmp_path / device).mkdir()
    (tmp_path / device / "name").write_text(f"{name}\n")


def test_the_port_is_found_by_its_name(tmp_path: Path) -> None:
    port(tmp_path, "vport1p1", "org.qemu.guest_agent.0")
    assert find_port(tmp_path) is None

    port(tmp_path, "vport1p2", "org.latent_libvirt.0")
    assert find_port(tmp_path) == Path("/dev/vport1p2")
