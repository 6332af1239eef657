# SPDX-License-Identifier: GPL-2.0-only
"""The held VM on the page of its build: how to look into it, and how to end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buildbot.process.results import EXCEPTION, FAILURE

from latent_libvirt.master.page.links import link_to

if TYPE_CHECKING:
    from latent_libvirt.pool.vm import VM

LOG: Final = "vm is held"
"""The name of the log of the step that failed."""

NOT_HELD: Final = "vm is not held"
"""The name of that log if the label holds enough VMs already."""


async def show(build: Any, vm: VM, *, is_frozen: bool = False) -> None:
    """Show on the page of *build* that *vm* is held, with the commands and a link.

    :param is_frozen: whether it is about to leave its slot.
    """
    step = _step_of(build)
    if step is None:
        return
    until = vm.machine.record.until
    text = (
        f"VM {vm} is held until {until}. On its master, in the master's base directory:\n"
        f"latent-libvirt shell {vm.vm_id}    opens a shell in it\n"
        f"latent-libvirt release {vm.vm_id}  deletes it\n"
    )
    if is_frozen:
        text += (
            "It is being frozen: its memory and disk are saved, and it leaves its slot. Then\n"
            f"latent-libvirt thaw {vm.vm_id}     continues it, before a shell is opened\n"
        )
    link = link_to(build.master, vm.vm_id)
    if link is not None:
        text += "In a browser: the link of this step leads to the VM, which has a terminal there.\n"
    await step.addCompleteLog(LOG, text)
    if link is not None:
        await build.master.data.updates.addStepURL(step.stepid, f"{LOG}: {vm}", link)


async def show_why_not(build: Any, why: str) -> None:
    """Show on the page of *build* why its VM is not held."""
    step = _step_of(build)
    if step is not None:
        remedy = "Release a VM that is held, or raise max_held in the pool's YAML file."
        await step.addCompleteLog(NOT_HELD, f"The VM is deleted: {why}.\n{remedy}\n")


def _step_of(build: Any) -> Any:
    """Return the step that failed last; that of the preparation if none did."""
    failed = (
        step for step in reversed(build.executedSteps) if step.results in (FAILURE, EXCEPTION)
    )
    return next(failed, getattr(build, "_preparation_step", None))
