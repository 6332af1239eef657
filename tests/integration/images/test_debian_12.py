# SPDX-License-Identifier: GPL-2.0-only
"""The debian-12 image in a VM: every way that it boots, and the launcher's side of the handshake.

What a master does with it is tested in ``tests/integration/test_jobs.py``.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import guest
from buildmaster import wait_for
from latent_libvirt.guest import protocol
from latent_libvirt.guest.launcher.version import launcher_version
from latent_libvirt.images.local import LocalImage


def identity_for(port: int, *, user: str = "worker") -> dict[str, Any]:
    who = protocol.Identity(
        name="debian-12-1",
        password=protocol.new_password(),
        master=protocol.MasterAddress("10.0.2.2", port),
        user=user,
    )
    return who.message(now=time.time())


def test_a_vm_booted_directly_waits_and_becomes_a_worker(image: LocalImage, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as master,
        guest.booted(image, tmp_path) as vm,
    ):
        waiting = vm.hear()
        assert waiting["type"] == "waiting"
        assert waiting["launcher"] == launcher_version() == image.description.launcher

        vm.say(protocol.HELLO)
        assert vm.hear() == waiting

        vm.say(identity_for(master.getsockname()[1]))
        assert vm.hear()["type"] == "starting"

        # The first connection only tries whether there is a master; the second is the worker's.
        master.settimeout(guest.DEADLINE)
        for _connection in range(2):
            master.accept()[0].close()


def test_a_vm_that_has_rehearsed_becomes_a_worker_all_the_same(
    image: LocalImage, tmp_path: Path
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as master,
        guest.booted(image, tmp_path) as vm,
    ):
        assert vm.hear()["rehearses"]
        vm.say(protocol.REHEARSE)
        wait_for("the rehearsal's end", lambda: "has rehearsed" in vm.console())
        vm.say(identity_for(master.getsockname()[1]))
        assert vm.hear()["type"] == "starting"

        master.settimeout(guest.DEADLINE)
        for _connection in range(2):
            master.accept()[0].close()


def test_the_same_disk_boots_by_its_bios(image: LocalImage, tmp_path: Path) -> None:
    with guest.booted(image, tmp_path, bios=True) as vm:
        assert vm.hear()["type"] == "waiting"


def test_a_user_that_the_image_has_not_is_told_and_ends_the_vm(
    image: LocalImage, tmp_path: Path
) -> None:
    with guest.booted(image, tmp_path) as vm:
        vm.hear()
        message = identity_for(9, user="nobody-here")
        vm.say(message)

        failed = vm.hear()
        assert failed["type"] == "failed"
        assert failed["reason"] == "this image has no user nobody-here"
        assert vm.wait() == 0

        assert "no user nobody-here" in vm.console()
        assert message["password"] not in vm.console()


def test_the_power_button_ends_a_vm_that_waits(image: LocalImage, tmp_path: Path) -> None:
    with guest.booted(image, tmp_path) as vm:
        vm.hear()
        vm.press_power_button()

        assert vm.wait() == 0


def test_a_larger_disk_is_used_to_its_end(image: LocalImage, tmp_path: Path) -> None:
    larger = image.description.virtual_size + 3 * 2**30
    blocks = (larger - 2**20) // 4096

    with guest.booted(image, tmp_path, disk_size=str(larger), append="loglevel=7") as vm:
        vm.hear()
        console = vm.console()

    assert f"vda1): resized filesystem to {blocks}" in console


def test_the_probe_says_that_the_kernel_runs_and_ends(image: LocalImage, tmp_path: Path) -> None:
    with guest.booted(image, tmp_path, append="latent_libvirt.probe") as vm:
        assert vm.wait() == 0

        assert "latent-libvirt: 64-bit probe ok" in vm.console()


def test_a_disk_that_is_not_there_is_told_and_ends_the_vm(
    image: LocalImage, tmp_path: Path
) -> None:
    with guest.booted(image, tmp_path, append="root=/dev/vdz1") as vm:
        assert vm.wait() == 0

        assert "there is no disk /dev/vdz1" in vm.console()
