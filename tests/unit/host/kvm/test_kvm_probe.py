# SPDX-License-Identifier: GPL-2.0-only
"""What a domain that does not start under KVM says of KVM. The host is a fake that refuses it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import libvirt
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from latent_libvirt.config import LabelConfig, NetworkConfig
from latent_libvirt.config.sections.image import ImageConfig
from latent_libvirt.errors import HostError
from latent_libvirt.host.domains.domain_xml import (
    DirectKernel,
    DomainSpec,
    Hardware,
    Port,
    VmRecord,
)
from latent_libvirt.host.domains.vm_spec import VmSpec
from latent_libvirt.host.kvm import kvm_probe
from latent_libvirt.host.kvm.accelerator import Verdict

RECORD = VmRecord("o", "m", "p", "1", "one", "w", "i", "")


class Complaint(libvirt.libvirtError):  # type: ignore[misc]
    """An error of libvirt's with this text, whatever error a test before this one has met."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)
        self.err = (libvirt.VIR_ERR_INTERNAL_ERROR, 0, text, 0, "", "", "", 0, 0)


class Refusing:
    """A connection over which no domain starts.

    :ivar specs: of the domains that were to be started.
    """

    host = "alpha"
    is_up = True

    def __init__(self, complaint: str) -> None:
        self.complaint = complaint
        self.specs: list[DomainSpec] = []

    async def call(self, _operation: str, what: str, _function: Any, *args: Any) -> None:
        if "start" in what:
            self.specs.append(args[0])
            raise HostError(f"could not {what}") from Complaint(self.complaint)


def probed(connection: Refusing) -> Deferred[Verdict]:
    host: Any = SimpleNamespace(connection=connection, reactor=Clock())
    network = NetworkConfig(network="lab")
    label = LabelConfig(image="one", vcpus=64, memory="64GiB", network=network, filter="own")
    port = Port(isolated=True, filter="own")
    hardware = Hardware(
        "qemu", VmSpec(label, ImageConfig(name="one")), "52:54:00:00:00:01", port=port
    )
    spec = DomainSpec("d", "uuid", RECORD, hardware, None, DirectKernel("/k", "/i", ""))
    return Deferred.fromCoroutine(kvm_probe.verdict_on_kvm(host, spec, ended=Deferred()))


@pytest.mark.parametrize(
    ("complaint", "is_kvms"),
    [
        ("internal error: kvm.c:3183: kvm_buf_set_msrs: Assertion `ret == n' failed.", True),
        ("internal error: failed to initialize kvm: No such device", True),
        ("internal error: Could not access KVM kernel module: Permission denied", False),
        ("internal error: cannot set up guest memory 'pc.ram': Cannot allocate memory", False),
        ("Requested operation is not valid: network 'lab' is not active", False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_only_what_qemu_says_of_kvm_is_a_defect_of_kvm(
    complaint: str, *, is_kvms: bool
) -> None:
    verdict = await probed(Refusing(complaint))

    assert verdict.defect
    assert verdict.was_tried is is_kvms


@pytest_twisted.ensureDeferred
async def test_a_slot_that_somebody_has_taken_says_nothing_of_kvm() -> None:
    with pytest.raises(HostError):
        await probed(Refusing("operation failed: domain 'd' already exists with uuid 1"))


@pytest_twisted.ensureDeferred
async def test_a_probe_has_no_network_and_is_small_whatever_its_label_wants() -> None:
    connection = Refusing("no")

    await probed(connection)

    (spec,) = connection.specs
    vm = spec.hardware.vm
    assert (vm.network.kind, vm.network.filter) == ("user", None)
    assert (spec.hardware.port.isolated, spec.hardware.port.filter) == (False, None)
    assert (vm.label.vcpus, vm.label.memory) == (1, 512 * 2**20)
