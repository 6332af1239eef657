# SPDX-License-Identifier: GPL-2.0-only
"""Guests with hardware that their label asks for, booted and resumed."""

from __future__ import annotations

import struct
import urllib.request
from dataclasses import replace

from buildmaster import BuildMaster, wait_for
from commands import status
from lab import Lab
from pools import MakeMaster, PoolSettings
from ready import RESUMED

MARK = "/sys/firmware/efi/efivars/Mark-11111111-2222-3333-4444-555555555555"

LOOKING = rf"""
def looks(name, command):
    return steps.ShellCommand(name=name, command=command, haltOnFailure=True)

factory = util.BuildFactory([
    looks("firmware", "grep -w efivarfs /proc/mounts"),
    looks("nothing is left", "test ! -e {MARK}"),
    looks("mark", "printf '\\7\\0\\0\\0x' | sudo -n tee {MARK} >/dev/null && test -e {MARK}"),
    looks("processor", "grep -w avx2 /proc/cpuinfo"),
    looks("watchdog", "grep -l 0x25ab /sys/bus/pci/devices/*/device"),
    looks("second network", "test $(ls -d /sys/class/net/*/device | wc -l) = 2"),
    looks("panic", "cat /sys/bus/acpi/devices/QEMU0001*/hid"),
    looks("TPM", "cat /sys/bus/acpi/devices/MSFT0101*/hid"),
    looks("screen", "grep -il 0x0300.. /sys/bus/pci/devices/*/class"),
    looks("is the first", ["test", util.Interpolate("%(prop:buildnumber)s"), "=", "1"]),
])
"""

CHANGED = """
from lxml.builder import E

def change(label, domain):
    assert label == "debian-12"
    domain.find("devices").append(E.panic(model="isa"))

pool.change_domains(change)
BuildmasterConfig["www"]["plugins"]["latent_libvirt"] = {}
"""

EVERYTHING = """
cpu: maximum
machine: pc-q35-7.2
firmware: uefi
tpm: true
graphics: true
domain_xml: |
  <devices>
    <watchdog model="i6300esb" action="poweroff"/>
    <interface type="user"><model type="virtio"/></interface>
  </devices>
"""


def test_a_guest_has_the_hardware_of_its_label_and_nothing_that_an_earlier_one_has_left_in_it(
    lab: Lab, make_master: MakeMaster
) -> None:
    settings = replace(RESUMED, slots=1, label_max_vms=1, label_keys=EVERYTHING)
    master = make_master(LOOKING, settings=settings, more=CHANGED)

    booted = master.force()
    assert master.wait_for_result(booted) == "SUCCESS", master.logs(master.builds(booted)[0])
    wait_for("the slot to be saved", lambda: status(master)["hosts"][0]["saved"])

    failed = master.force()
    assert master.wait_for_result(failed) == "FAILURE"
    (build,) = master.builds(failed)
    assert "test 2" in build["state_string"]
    see_screen(master, build["buildid"])
    wait_for("both to end", lambda: master.log.count(" s, resume ") == 2)
    assert master.log.count(" s, boot ") == 1


def see_screen(master: BuildMaster, build: int) -> None:
    """See that the page has what the VM of a build that failed has shown last."""
    url = f"http://127.0.0.1:{master.web_port}/plugins/latent_libvirt/screen?build={build}"

    def is_kept() -> bool:
        return any(each["name"] == "screen.png" for each in master.get(f"builds/{build}/data"))

    wait_for("the screen", is_kept)
    with urllib.request.urlopen(url, timeout=60) as answer:
        picture = answer.read()
        assert answer.headers["Content-Type"] == "image/png"
    width, height = struct.unpack(">II", picture[16:24])
    assert picture.startswith(b"\x89PNG")
    assert width >= 640
    assert height >= 400


def test_hardware_that_a_host_lacks_is_no_fault_of_the_host(
    lab: Lab, make_master: MakeMaster
) -> None:
    settings = PoolSettings(label_keys="machine: pc-q35-99.9", launch_attempts=1)
    master = make_master(LOOKING, settings=settings)
    job = master.force()

    assert master.wait_for_result(job) == "EXCEPTION"
    assert "because of its size or hardware" in master.log
    assert "pc-q35-99.9" in master.logs(master.builds(job)[0])
    assert status(master)["hosts"][0]["trouble"] == ""
