# SPDX-License-Identifier: GPL-2.0-only
"""Guests under Secure Boot with a TPM boot, are resumed, and have what they were promised."""

from __future__ import annotations

from pathlib import Path

import buildmaster
import lab as lab_module
from latent_libvirt.images.local import LocalImage
from pools import PoolSettings, master_cfg, write_pool
from signed_disk import NAME, signed_image

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
MARK = "/sys/firmware/efi/efivars/Mark-11111111-2222-3333-4444-555555555555"

FACTORY = rf"""
def looks(name, command):
    return steps.ShellCommand(name=name, command=command, haltOnFailure=True)

factory = util.BuildFactory([
    looks("Secure Boot is on", 'test "$(od -An -tu1 -j4 {SECURE_BOOT} | tr -d " ")" = 1'),
    looks("TPM", "cat /sys/bus/acpi/devices/MSFT0101*/hid"),
    looks("nothing is left", "test ! -e {MARK}"),
    looks("mark", "printf '\\7\\0\\0\\0x' | sudo -n tee {MARK} >/dev/null && test -e {MARK}"),
])
"""


def test_a_guest_under_secure_boot_boots_and_is_resumed(
    tmp_path: Path, cache: Path, image: LocalImage
) -> None:
    settings = PoolSettings(
        image=f"{{name: {NAME}}}",
        slots=1,
        label_max_vms=1,
        start="resume",
        boot_timeout="15m",
        attach_timeout="5m",
        label_keys="firmware: uefi-secure\ntpm: true",
    )
    directory = tmp_path / "master"
    directory.mkdir()
    with lab_module.running(tmp_path / "lab", cache=cache) as lab:
        lab.publish(signed_image(cache, image))
        write_pool(directory, lab.uri, settings)
        with buildmaster.running(directory, master_cfg(FACTORY)) as master:
            for _number in range(2):
                job = master.force()
                result = master.wait_for_result(job)
                assert result == "SUCCESS", (master.logs(master.builds(job)[0]), master.log)
            buildmaster.wait_for("both to end", lambda: master.log.count(" s, resume ") >= 1)
