# SPDX-License-Identifier: GPL-2.0-only
"""A start that libvirt refuses, with each code that there is: who is blamed, and for what.

libvirt is a fake: no host can be brought to refuse with each of them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import libvirt
import pytest

from latent_libvirt.config import ImageConfig, LabelConfig
from latent_libvirt.errors import ConfigurationError, LatentLibvirtError
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.machine import Machine
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.start_errors import SlotTakenError
from latent_libvirt.host.domains.vm_spec import VmSpec
from latent_libvirt.host.volumes.base_image import BaseImage
from latent_libvirt.host.volumes.storage import Backing

CODES = sorted(
    value
    for name, value in vars(libvirt).items()
    if name.startswith("VIR_ERR_") and isinstance(value, int)
)
OF_THE_CONFIGURATION = {
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: "size or hardware",
    libvirt.VIR_ERR_XML_ERROR: "size or hardware",
    libvirt.VIR_ERR_XML_DETAIL: "size or hardware",
    libvirt.VIR_ERR_XML_INVALID_SCHEMA: "size or hardware",
    libvirt.VIR_ERR_NO_NETWORK: "network",
    libvirt.VIR_ERR_INVALID_NETWORK: "network",
    libvirt.VIR_ERR_NO_INTERFACE: "network",
    libvirt.VIR_ERR_NO_NWFILTER: "network",
    libvirt.VIR_ERR_INVALID_NWFILTER: "network",
    libvirt.VIR_ERR_NO_SECRET: "image",
    libvirt.VIR_ERR_INVALID_SECRET: "image",
}


class Error(libvirt.libvirtError):  # type: ignore[misc]
    """An error of libvirt's with this code and message."""

    def __init__(self, code: int, message: str = "why") -> None:
        self.err = (code, 0, message, 0, "", "", "", 0, 0)

    def __str__(self) -> str:
        return str(self.get_error_message())


class Hypervisor:
    """A libvirt that starts nothing.

    :param error: why it starts nothing.
    :ivar later: with which it refuses all other calls; ``None`` if it does not.
    """

    def __init__(self, error: Error, later: Error | None = None) -> None:
        self.error = error
        self.later = later

    def createXML(self, _xml: str, _flags: int) -> None:  # noqa: N802 - libvirt's
        raise self.error

    def listAllDomains(self) -> list[Any]:  # noqa: N802
        self._refuse()
        return []

    def storagePoolLookupByName(self, _name: str) -> Any:  # noqa: N802
        self._refuse()
        return SimpleNamespace(isActive=lambda: True, refresh=lambda _flags: None)

    def _refuse(self) -> None:
        if self.later is not None:
            raise self.later


@pytest.fixture
def machine() -> Machine:
    image = BaseImage("base.qcow2", None, "digest", Backing("/base.qcow2", 2**20))
    record = VmRecord("o", "m", "p", "1", "one", "w", "i", "")
    vm = VmSpec(LabelConfig(image="one"), ImageConfig(name="one"))
    plan = MachinePlan(1, record, vm)
    connection = SimpleNamespace(host="alpha")
    host: Any = SimpleNamespace(
        reactor=None,
        uuid="host",
        architecture="x86_64",
        connection=connection,
        storage_pool="default",
        change_domain=None,
        catalog=SimpleNamespace(resolve=lambda _pool, _image, version: image),
    )
    machine = Machine(host, plan)
    machine.makeup.image = image
    return machine


@pytest.mark.parametrize("code", CODES)
def test_each_code_is_blamed_on_the_configuration_or_left_to_the_host(
    machine: Machine, code: int
) -> None:
    hypervisor: Any = Hypervisor(Error(code))

    with pytest.raises((libvirt.libvirtError, LatentLibvirtError)) as raised:
        machine._start(hypervisor)

    what = OF_THE_CONFIGURATION.get(code)
    if what is None:
        assert raised.value is hypervisor.error
    else:
        assert isinstance(raised.value, ConfigurationError)
        assert f"because of its {what}" in raised.value.brief
        assert "alpha" in raised.value.brief


# That the storage pool is gone is another thing to report.
@pytest.mark.parametrize("code", [c for c in CODES if c != libvirt.VIR_ERR_NO_STORAGE_POOL])
def test_what_is_asked_after_a_refusal_does_not_hide_it(machine: Machine, code: int) -> None:
    hypervisor: Any = Hypervisor(Error(libvirt.VIR_ERR_NO_NETWORK), later=Error(code, "later"))

    with pytest.raises(ConfigurationError, match="because of its network"):
        machine._start(hypervisor)


def test_a_slot_that_is_taken_is_nobodys_fault(machine: Machine) -> None:
    taken = Error(libvirt.VIR_ERR_OPERATION_FAILED, "domain 'a' already exists with uuid 1")
    hypervisor: Any = Hypervisor(taken, later=Error(libvirt.VIR_ERR_RPC))

    with pytest.raises(SlotTakenError):
        machine._start(hypervisor)
