# SPDX-License-Identifier: GPL-2.0-only
"""Builds for another architecture: how the kernel learns what QEMU runs. tests/long builds one."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from latent_libvirt.images import foreign


def test_only_another_architecture_is_foreign() -> None:
    assert not foreign.is_foreign(platform.machine())
    assert foreign.is_foreign("s390x")


@pytest.mark.parametrize(("arch", "number"), [("x86_64", 0x3E), ("aarch64", 0xB7)])
def test_programs_of_the_architecture_and_no_others_are_qemus(arch: str, number: int) -> None:
    hook = list(foreign.options(arch, "/usr/bin/qemu"))[-1]
    _, _, _, _, magic, mask, program, flags = hook.split("'")[1].split(":")
    wanted, significant = (
        bytes.fromhex(each.replace("\\x7fELF", "7f454c46").replace("\\x", ""))
        for each in (magic, mask)
    )

    def is_qemus(machine: int) -> bool:
        header = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little")
        return bytes(a & b for a, b in zip(header, significant, strict=True)) == wanted

    assert is_qemus(number)
    assert not is_qemus(0xF3)
    # Opened at once, so that it is there in a root file system that does not have it.
    assert (program, flags) == ("/usr/bin/qemu", "OCF")


def test_root_gets_users_for_the_namespace_and_nobody_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert foreign.prefix(tmp_path) == []

    monkeypatch.setattr("os.geteuid", lambda: 0)
    command = foreign.prefix(tmp_path)
    assert command[0] == "unshare"
    assert Path(command[-1]).read_text().startswith("root:")
