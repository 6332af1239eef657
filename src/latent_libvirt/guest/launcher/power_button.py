# SPDX-License-Identifier: GPL-2.0-only
"""Power button of the machine.

libvirt's shutdown presses it. The end of the launcher ends the VM in good order.
"""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_INPUT_EVENT: Final = struct.Struct("llHHi")
_EV_KEY: Final = 1
_KEY_POWER: Final = 116


class PowerButton:
    """The machine's power button, where it has one."""

    def __init__(self, inputs: Path = Path("/sys/class/input")) -> None:
        self._descriptors = [
            os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            for device in find_power_buttons(inputs)
        ]

    def filenos(self) -> list[int]:
        """Return the descriptors, for poll()."""
        return self._descriptors

    @staticmethod
    def is_pressed(descriptor: int) -> bool:
        """Read what there is to read; tell whether the button was pressed."""
        data = os.read(descriptor, _INPUT_EVENT.size * 64)
        events = _INPUT_EVENT.iter_unpack(data)
        return any(event[2:] == (_EV_KEY, _KEY_POWER, 1) for event in events)


def find_power_buttons(inputs: Path) -> Iterator[Path]:
    """Yield the devices of all power buttons."""
    for name in inputs.glob("event*/device/name"):
        device = Path("/dev/input", name.parents[1].name)
        if name.read_text().strip() == "Power Button" and device.exists():
            yield device


def linger(button: PowerButton) -> None:
    """Leave the VM as it is, for who holds it, until its power button is pressed."""
    poll = select.poll()
    for descriptor in button.filenos():
        poll.register(descriptor, select.POLLIN)
    while not any(PowerButton.is_pressed(descriptor) for descriptor, _event in poll.poll()):
        pass
