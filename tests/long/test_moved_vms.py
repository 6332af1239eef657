# SPDX-License-Identifier: GPL-2.0-only
"""A frozen VM of a drained host goes on on another host, with what it was resumed from below it.

The VM is a real one. Its disk is an overlay of the disk that was saved with another VM, which the
other host does not have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import buildmaster
import lab as lab_module
from browser import Browser
from buildmaster import BuildMaster, wait_for
from commands import COMMAND, status, told
from lab import STORAGE_POOL, Lab
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.images.local import LocalImage
from page_users import PAGE_WITH_BUTTONS, logged_in
from pools import PoolSettings, master_cfg, write_pool
from typist import typing_into
from ui import accessibility

PROCESS = "echo boot $(cat /proc/sys/kernel/random/boot_id) process $(pgrep -x sleep)."

FAILING = f"""
factory = util.BuildFactory([
    steps.ShellCommand(command="setsid sleep 98765 >/dev/null 2>&1 3>/var/tmp/open &",
                       haltOnFailure=True),
    steps.SetPropertyFromCommand(command="{PROCESS}", property="process", haltOnFailure=True),
    steps.ShellCommand(command="{PROCESS} >/var/tmp/process", haltOnFailure=True),
    steps.ShellCommand(command=["false"]),
])
"""

OTHER = """
other:
  uri: "{uri}"
  slots: 2
  storage_pool: {storage_pool}
  accelerator: tcg
  drain: true
"""


def test_a_vm_that_was_resumed_goes_on_on_another_host(
    tmp_path: Path, cache: Path, image: LocalImage
) -> None:
    directory = tmp_path / "master"
    directory.mkdir()
    with (
        lab_module.running(tmp_path / "here", cache=cache) as here,
        lab_module.running(tmp_path / "other", cache=cache) as other,
    ):
        for lab in (here, other):
            lab.publish(image)
        hosts = OTHER.format(uri=other.uri, storage_pool=STORAGE_POOL)
        keys = "hold_on_failure: 1h\nfreeze: true"
        settings = PoolSettings(
            max_vms=4, slots=1, start="resume", label_keys=keys, other_hosts=hosts
        )
        write_pool(directory, here.uri, settings)
        statements = master_cfg(FAILING) + PAGE_WITH_BUTTONS
        with buildmaster.running(directory, statements) as master:
            wait_for("the slot to be saved", lambda: _is_saved(status(master)))
            job = master.force()
            assert master.wait_for_result(job) == "FAILURE"
            before = master.builds(job)[0]["properties"]["process"][0]
            (frozen,) = wait_for("the VM to be frozen", lambda: status(master)["frozen"])
            assert frozen["host"] == "here"
            text = settings.yaml(here.uri).replace("  drain: true\n", "")
            (directory / "pool.yaml").write_text(text)
            told(master, "drain", "here")
            wait_for("the other host to be used", lambda: not _is_drained(status(master), "other"))

            _thaw_on_the_page(master, frozen)

            (held,) = wait_for("the VM to be held", lambda: status(master)["held"])
            wait_for("nothing to be left here", lambda: not _volumes_of(here, frozen["vm_id"]))
            assert len(_volumes_of(other, frozen["vm_id"])) == 2, "a disk of two layers"
            assert (held["vm_id"], held["host"]) == (frozen["vm_id"], "other")
            with typing_into((COMMAND, "shell", frozen["vm_id"]), cwd=directory) as operator:
                operator.read_until(":~# ")
                fds = "readlink /proc/$(pgrep -x sleep)/fd/3"
                operator.type(f"cat /var/tmp/process; {PROCESS}; {fds}; echo over $((5 * 5))\r")
                shown = operator.read_until("over 25")
            assert shown.count(before) == 2
            assert "\n/var/tmp/open" in shown
            told(master, "release", frozen["vm_id"])
            assert _volumes_of(other, frozen["vm_id"]) == []


def _thaw_on_the_page(master: BuildMaster, frozen: dict[str, Any]) -> None:
    """Choose the other host in a browser, and wait until the VM runs there."""
    vm = f"{frozen['worker']}, id {frozen['vm_id']}"
    select = f"document.querySelector('select[aria-label=\"Host on which to thaw {vm}\"]')"
    with Browser(f"{master.ui}#/vms") as browser:
        logged_in(master, browser, "admin")
        browser.click(f"Thaw {vm}")
        browser.wait_for_text("It waits first, since host here is drained")
        names = f"[...{select}.options].map((each) => each.text)"
        assert browser.evaluate(names) == ["here", "other"]
        browser.act(select, "focus()")
        browser.type("o")
        browser.wait_for_text("are copied to host other first. Then it continues in slot 1")
        assert accessibility(browser) == []
        browser.click(f"Thaw {vm}")
        browser.wait_for_text(" on host other")  # at once, or when its slot is saved
        assert browser.errors == []


def _is_saved(document: dict[str, Any]) -> bool:
    return any(host["saved"] for host in document["hosts"]) and not document["saving"]


def _is_drained(document: dict[str, Any], name: str) -> bool:
    return any(host["name"] == name and host["drained"] for host in document["hosts"])


def _volumes_of(lab: Lab, vm_id: str) -> list[str]:
    return [each for each in lab.overlays() if OwnedVolume.parse(each).vm_id == vm_id]  # type: ignore[union-attr]
