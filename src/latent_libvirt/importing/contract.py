# SPDX-License-Identifier: GPL-2.0-only
"""Check of the image contract: what a job does with a VM of the image, done once.

The VM boots, waits for an identity, is saved and restored, gets an identity, reaches the port of a
master, and becomes a worker.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from latent_libvirt.errors import GuestError, LatentLibvirtError
from latent_libvirt.guest import protocol
from latent_libvirt.sandbox.supervisor import PORT

if TYPE_CHECKING:
    from latent_libvirt.host.domains.machine import Machine
    from latent_libvirt.images.progress import Reporter
    from latent_libvirt.importing.private_host import PrivateHost

MASTER = "10.0.2.2"
"""The host's address, as guests of QEMU's user network see it."""


async def check(host: PrivateHost, *, timeout: float, reporter: Reporter) -> str:
    """See that the result keeps the image contract; return its launcher's version.

    :param timeout: seconds until its VM must wait for an identity.
    :raises LatentLibvirtError: it does not, and in which step.
    """
    machine = host.host.new_machine(host.plan("result", start="resume"))
    step = ""
    try:
        for step, work in (
            ("boot", partial(_boot, machine, timeout)),
            ("go on from a saved state", partial(_save, machine, timeout)),
            ("become a worker", partial(_assign, machine)),
        ):
            reporter.stage(f"checking that its VMs {step}")
            await work()
    except LatentLibvirtError as error:
        raise GuestError(
            f"the disk becomes no image: a VM of it did not {step}: {error.brief}",
            details=error.details,
            # No label waits here, but the command.
            resolution=(error.resolution or "").replace("the label's boot_timeout", "--timeout")
            or None,
        ) from error
    finally:
        await host.host.discard(machine)
    return machine.guest.launcher


async def _boot(machine: Machine, timeout: float) -> None:
    await machine.prepare()
    await machine.clone()
    await machine.boot()
    await machine.until_waiting(timeout)


async def _save(machine: Machine, timeout: float) -> None:
    await machine.save()
    if machine.saved is None:
        raise machine.guest.with_console(GuestError("libvirt could not save it"))
    if not await machine.resume(timeout):
        raise GuestError("it did not go on from where it was saved")


async def _assign(machine: Machine) -> None:
    identity = protocol.Identity(
        name="import",
        password=protocol.new_password(),
        master=protocol.MasterAddress(MASTER, PORT),
        user="worker",
    )
    await machine.assign(identity)
