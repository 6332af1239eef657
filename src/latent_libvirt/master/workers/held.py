# SPDX-License-Identifier: GPL-2.0-only
"""The held VM on the page of its build: how to look into it, and how to end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buildbot.process.results import EXCEPTION, FAILURE

from latent_libvirt.host.states.frozen import moment
from latent_libvirt.jobs.state import master_name
from latent_libvirt.master.page.links import link_to
from latent_libvirt.pool.holding.holds import in_words

if TYPE_CHECKING:
    from latent_libvirt.pool.vm import VM

LOG: Final = "vm is held"
"""The name of the log of the step that failed."""

NOT_HELD: Final = "vm is not held"
"""The name of that log if it is not, although its label or an operator wants that."""


IN_A_BROWSER: Final = (
    'In a browser, the link of this step leads to the VM on the page "VMs".\n'
    "It has a terminal there for users whom the configuration (authz) allows the action terminal,\n"
    "and a button that deletes it for those whom it allows release.\n"
)


async def show(build: Any, vm: VM, *, is_frozen: bool = False) -> None:
    """Show on the page of *build* that *vm* is held, with the commands and a link.

    :param is_frozen: whether it is about to leave its slot.
    """
    step = _step_of(build)
    if step is None:
        return
    link = link_to(build.master, vm.vm_id)
    until = in_words(moment(vm.machine.record.until), build.master.reactor.seconds())
    text = f"VM {vm} is held {until}.\n"
    text += IN_A_BROWSER if link is not None else ""
    text += (
        f"Where its master runs ({master_name(build.master.name)}), as the master's user and in "
        "its base directory:\n"
        f"latent-libvirt shell {vm.vm_id}    opens a shell in it\n"
        f"latent-libvirt release {vm.vm_id}  deletes it\n"
    )
    if is_frozen:
        text += (
            "It is being frozen: its memory and disk are saved, and it leaves its slot. Then\n"
            f"latent-libvirt thaw {vm.vm_id}     continues it, before a shell is opened\n"
        )
    await step.addCompleteLog(LOG, text)
    if link is not None:
        await build.master.data.updates.addStepURL(step.stepid, f"{LOG}: {vm}", link)


async def show_why_not(build: Any, why: str, remedy: str) -> None:
    """Show on the page of *build* why its VM is not held, and what to do, if anything."""
    step = _step_of(build)
    if step is not None:
        lines = [f"The VM is deleted: {why}.", remedy]
        await step.addCompleteLog(NOT_HELD, "".join(f"{line}\n" for line in lines if line))


def _step_of(build: Any) -> Any:
    """Return the step that failed last; that of the preparation if none did."""
    failed = (
        step for step in reversed(build.executedSteps) if step.results in (FAILURE, EXCEPTION)
    )
    return next(failed, getattr(build, "_preparation_step", None))
