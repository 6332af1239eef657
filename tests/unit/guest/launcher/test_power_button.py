# SPDX-License-Identifier: GPL-2.0-only
"""The power button of a machine."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from latent_libvirt.guest.launcher.power_button import PowerButton, find_power_buttons


def test_letting_go_of_the_button_or_another_key_is_no_shutdown() -> None:
    read, write = os.pipe()
    release = struct.pack("llHHi", 0, 0, 1, 116, 0)
    sync = struct.pack("llHHi", 0, 0, 0, 0, 0)
    other = struct.pack("llHHi", 0, 0, 1, 30, 1)
    os.write(write, release + sync + other)

    assert not PowerButton.is_pressed(read)

    os.close(read)
    os.close(write)


def test_only_power_buttons_are_read(tmp_path: Path) -> None:
    for event, name in {"event0": "Power Button", "event1": "AT Keyboard"}.items():
        (tmp_path / event / "device").mkdir(parents=True)
        (tmp_path / event / "device/name").write_text(f"{name}\n")

    found = {path.name for path in find_power_buttons(tmp_path)}

    assert found <= {"event0"}
