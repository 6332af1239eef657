# SPDX-License-Identifier: GPL-2.0-only
"""What a host lacks, by what its libvirt says. Real hosts lack too little to show each kind."""

from __future__ import annotations

from typing import Any, cast

import libvirt
import pytest

from latent_libvirt.host import hardware
from specs import a_spec

SAYS = """
<domainCapabilities><domain>{domain}</domain>
  <os>
    <enum name='firmware'>{firmware}</enum>
    <loader supported='yes'><enum name='secure'><value>no</value>{secure}</enum></loader>
  </os>
  <cpu><mode name='custom' supported='yes'>
    <model usable='yes'>Nehalem</model><model usable='no'>Skylake-Server</model>
  </mode></cpu>
  <devices><tpm supported='yes'><enum name='backendModel'>
    <value>passthrough</value>{tpm}
  </enum></tpm></devices>
</domainCapabilities>
"""
NOTHING = {"domain": "kvm", "firmware": "", "secure": "", "tpm": ""}
ALL = {
    "domain": "kvm",
    "firmware": "<value>efi</value>",
    "secure": "<value>yes</value>",
    "tpm": "<value>emulator</value>",
}


class Host:
    """A connection to a host that has what a test says, and no machine but q35."""

    def __init__(self, says: str) -> None:
        self.says = says
        self.asked: list[object] = []
        self.guests = ""

    def getDomainCapabilities(self, *asked: object) -> str:  # noqa: N802 - libvirt's
        self.asked.append(asked[3])
        if asked[1:3] not in (("x86_64", "q35"), ("aarch64", "virt")):
            raise _Error
        return self.says

    def getCapabilities(self) -> str:  # noqa: N802
        pages = "<cpu><pages size='4'/><pages size='1048576'/><pages size='2048'/></cpu>"
        return f"<capabilities><host>{pages}</host>{self.guests}</capabilities>"

    def getFreePages(  # noqa: N802
        self, sizes: list[int], first: int, cells: int
    ) -> dict[int, dict[int, int]]:
        assert (sizes, first, cells) == ([2048, 1048576], 0, 1)
        return {0: {2048: 256, 1048576: 0}}


class _Error(libvirt.libvirtError):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__("the machine is not supported")

    def get_error_code(self) -> int:
        return int(libvirt.VIR_ERR_INVALID_ARG)


def lacks(host: dict[str, str], **label: Any) -> list[str]:
    connection = cast("libvirt.virConnect", Host(SAYS.format(**host)))
    return hardware.lacks(connection, a_spec(**label).label, accelerator="auto")


def test_too_few_huge_pages_are_lacked() -> None:
    assert lacks(ALL, hugepages=True, memory="512MiB") == []
    (lacked,) = lacks(ALL, hugepages=True, memory="513MiB")

    assert "513 MiB of free huge pages (it has 512 MiB free" in lacked


@pytest.mark.parametrize(
    ("label", "what"),
    [
        ({"firmware": "uefi"}, "ovmf"),
        ({"firmware": "uefi-secure"}, "ovmf"),
        ({"tpm": True}, "swtpm"),
    ],
)
def test_what_is_not_there_is_named_with_its_package(label: dict[str, Any], what: str) -> None:
    (lacked,) = lacks(NOTHING, **label)

    assert what in lacked
    assert lacks(ALL, **label) == []


def test_firmware_without_secure_boot_is_none_for_it() -> None:
    assert lacks(ALL | {"secure": ""}, firmware="uefi") == []
    assert "Secure Boot" in lacks(ALL | {"secure": ""}, firmware="uefi-secure")[0]


@pytest.mark.parametrize("cpu", ["host", "host-model +vmx", "maximum", "Nehalem -aes"])
def test_a_processor_that_is_there_is_not_lacked(cpu: str) -> None:
    assert lacks(NOTHING, cpu=cpu) == []


def test_a_processor_has_to_be_known_and_under_kvm_usable() -> None:
    assert lacks(ALL, cpu="Nehalme")[0].startswith("processor Nehalme ")
    assert lacks(ALL, cpu="Skylake-Server")[0].startswith("features of processor")
    assert lacks(ALL | {"domain": "qemu"}, cpu="Skylake-Server") == []


def test_a_machine_that_is_not_there_is_all_that_can_be_said() -> None:
    (lacked,) = lacks(NOTHING, machine="pc-q35-99.9", firmware="uefi")

    assert lacked.startswith("machine pc-q35-99.9 ")


def test_a_host_without_the_architecture_is_asked_for_nothing_else() -> None:
    host = Host(SAYS.format(**NOTHING))
    host.guests = "<guest><arch name='x86_64'><domain type='qemu'/></arch></guest>"
    connection = cast("libvirt.virConnect", host)

    label = a_spec(arch="aarch64", tpm=True).label
    (lacked,) = hardware.lacks(connection, label, accelerator="auto")

    assert lacked == "QEMU for aarch64 (Debian: install qemu-system-arm, and restart libvirtd)"
    assert host.asked == []


def test_the_firmware_of_another_architecture_has_another_package() -> None:
    (lacked,) = lacks(NOTHING, arch="aarch64")

    assert "qemu-efi-aarch64" in lacked
    assert lacks(ALL, arch="aarch64") == []


def test_a_label_asks_by_what_it_says_itself() -> None:
    assert hardware.asks(a_spec().label) == []
    assert hardware.asks(a_spec(tpm=True, cpu="host").label) == ["cpu", "tpm"]


def test_a_host_without_kvm_is_asked_for_what_it_emulates() -> None:
    host = Host(SAYS.format(**ALL))
    for accelerator in ("tcg", "auto"):
        connection = cast("libvirt.virConnect", host)
        hardware.lacks(connection, a_spec().label, accelerator=accelerator)

    assert host.asked == ["qemu", None]


def test_pages_that_libvirt_does_not_say_are_not_lacked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise _NoSupportError

    monkeypatch.setattr(Host, "getFreePages", refuse)

    assert lacks(ALL, hugepages=True) == []


class _NoSupportError(_Error):
    def get_error_code(self) -> int:
        return int(libvirt.VIR_ERR_NO_SUPPORT)


def test_a_size_of_pages_that_is_no_number_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = "<pages/><pages size='x'/><pages size='4'/><pages size='2048'/><pages size='1048576'/>"
    capabilities = f"<capabilities><host><cpu>{pages}</cpu></host></capabilities>"
    monkeypatch.setattr(Host, "getCapabilities", lambda _: capabilities)

    assert lacks(ALL, hugepages=True, memory="512MiB") == []
