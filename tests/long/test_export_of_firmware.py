# SPDX-License-Identifier: GPL-2.0-only
"""A frozen VM with UEFI and a TPM goes on elsewhere, with the variables of its firmware.

Both are in the saved memory: QEMU has the variables as memory of the VM, and asks swtpm for the
state of the TPM. So an export needs no file of either.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import buildmaster
import lab as lab_module
from buildmaster import DEADLINE, wait_for
from commands import COMMAND, status, told
from lab import Lab
from latent_libvirt.images.local import LocalImage
from pools import PoolSettings, master_cfg, write_pool

MARK = "/sys/firmware/efi/efivars/Mark-11111111-2222-3333-4444-555555555555"

FAILING = rf"""
factory = util.BuildFactory([
    steps.ShellCommand(command="printf '\\7\\0\\0\\0mark' | sudo -n tee {MARK} >/dev/null",
                       haltOnFailure=True),
    steps.ShellCommand(command="cat /sys/bus/acpi/devices/MSFT0101*/hid", haltOnFailure=True),
    steps.SetPropertyFromCommand(command="cat /proc/sys/kernel/random/boot_id", property="boot"),
    steps.ShellCommand(command=["false"]),
])
"""

KEYS = """
firmware: uefi
tpm: true
hold_on_failure: 1h
freeze: true
export: true
"""


def test_a_vm_with_uefi_and_a_tpm_goes_on_at_a_libvirtd_that_never_saw_it(
    tmp_path: Path, cache: Path, image: LocalImage
) -> None:
    file, directory = tmp_path / "vm.tar", tmp_path / "master"
    directory.mkdir()
    with lab_module.running(tmp_path / "lab", cache=cache) as lab:
        lab.publish(image)
        write_pool(directory, lab.uri, PoolSettings(label_keys=KEYS))
        with buildmaster.running(directory, master_cfg(FAILING)) as master:
            job = master.force()
            assert master.wait_for_result(job) == "FAILURE"
            boot = master.builds(job)[0]["properties"]["boot"][0]
            (frozen,) = wait_for("the VM to be frozen", lambda: status(master)["frozen"])
            told(master, "export", frozen["vm_id"], str(file))
            told(master, "release", frozen["vm_id"])

    with lab_module.running(tmp_path / "other", cache=cache) as other:
        thawed = _thaw(file, other, image.path("disk"))
        assert thawed.returncode == 0, thawed.stderr
        (domain,) = other.domains()

        said = _typed(
            other, domain, f"cat /proc/sys/kernel/random/boot_id {MARK}; echo over $((5*5))"
        )

        assert boot in said
        assert "mark" in said.split(boot)[1]
        other.destroy_domains()
    shutil.rmtree(f"{file}.d")


def _thaw(file: Path, lab: Lab, base: Path) -> subprocess.CompletedProcess[str]:
    command = [str(COMMAND), "thaw", str(file), "--uri", lab.uri, "--base", str(base)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def _typed(lab: Lab, domain: str, line: str) -> str:
    """Type a line into the shell at a console; return what it says until ``over 25``."""
    said = b""
    with lab.connection() as connection:
        stream = connection.newStream(0)
        connection.lookupByName(domain).openConsole(None, stream, 0)
        stream.send(b"\r")
        while b"# " not in said:
            said += stream.recv(1024)
        stream.send(f"{line}\r".encode())
        while b"over 25" not in said:
            said += stream.recv(1024)
        stream.abort()
    return said.decode(errors="replace")
