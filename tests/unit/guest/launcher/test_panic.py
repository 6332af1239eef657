# SPDX-License-Identifier: GPL-2.0-only
"""What a panic of the guest's kernel does, by the kernel's own setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_libvirt.guest.launcher.panic import end_at_panic


@pytest.mark.parametrize(("before", "after"), [("0\n", "1"), ("1\n", "1\n"), ("-1\n", "-1\n")])
def test_a_panic_ends_the_vm_unless_the_image_says_otherwise(
    tmp_path: Path, before: str, after: str
) -> None:
    setting = tmp_path / "panic"
    setting.write_text(before)

    end_at_panic(setting)

    assert setting.read_text() == after


def test_a_kernel_without_the_setting_is_left_alone(tmp_path: Path) -> None:
    end_at_panic(tmp_path / "panic")

    assert not (tmp_path / "panic").exists()
