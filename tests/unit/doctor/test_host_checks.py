# SPDX-License-Identifier: GPL-2.0-only
"""What the doctor calls a fault after. The probe of KVM is a fake, which finds a changed image."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.config import LabelConfig
from latent_libvirt.doctor import kvm
from latent_libvirt.doctor.finding import Finding, Status
from latent_libvirt.doctor.host_checks import Examination, Options
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.volumes.images import ChangedVolumeError

LABEL = LabelConfig.model_validate({"image": "debian-12"})


def examined(monkeypatch: pytest.MonkeyPatch, cause: Exception) -> Finding:
    """Return what is found when the probe of KVM fails because of *cause*."""

    async def works(*_arguments: object) -> list[Finding]:
        raise ConfigurationError("no VM is started", resolution="Delete it.") from cause

    monkeypatch.setattr(kvm, "works", works)
    tested: Any = SimpleNamespace(
        host=SimpleNamespace(architecture="x86_64"), free_slots=lambda: [1]
    )
    found: list[Finding] = []
    examination = Examination(tested, Options(), found.append)
    work = examination._kvm({"small": LABEL})
    assert Deferred.fromCoroutine(examination._do(kvm.CHECK, work)).result is False
    (finding,) = found
    return finding


def test_a_changed_image_is_a_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = examined(monkeypatch, ChangedVolumeError("volume x is not what was published"))

    assert (finding.check, finding.status) == ("image of small", Status.FAILED)
    assert finding.resolution == "Delete it."


def test_another_fault_stays_one_of_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert examined(monkeypatch, OSError("no /dev/kvm")).check == "KVM"
