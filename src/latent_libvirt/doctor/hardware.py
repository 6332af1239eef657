# SPDX-License-Identifier: GPL-2.0-only
"""Check that the host has the hardware that a label asks for, before a VM is started."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from latent_libvirt.doctor.finding import fine
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host import hardware

if TYPE_CHECKING:
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.doctor.host_under_test import HostUnderTest


def check_name(label: str) -> str:
    """Return what the check is called."""
    return f"hardware of {label}"


async def check(tested: HostUnderTest, label_name: str, label: LabelConfig) -> list[Finding]:
    """Compare what one label asks for with what libvirt says of the host.

    :raises ConfigurationError: if the host lacks any of it.
    """
    keys = hardware.asks(label)
    if not keys:
        return []
    look = partial(hardware.lacks, label=label, accelerator=tested.config.accelerator)
    call = tested.host.connection.call
    lacked = await call("examine", "say what hardware it has", look)
    devices = partial(hardware.lacks_devices, devices=tested.config.devices, label=label)
    lacked += await call("examine", "say which devices it has", devices) if label.devices else []
    if lacked:
        raise ConfigurationError(
            f"host {tested.name} lacks what label {label_name} asks for: {'; '.join(lacked)}",
            resolution="Install it there, change the label, or name only hosts that have it in the "
            "label's hosts.",
        )
    return [fine(check_name(label_name), f"the host has what the label asks for: {_and(keys)}")]


def _and(keys: list[str]) -> str:
    return " and ".join([", ".join(keys[:-1]), keys[-1]] if len(keys) > 1 else keys)
