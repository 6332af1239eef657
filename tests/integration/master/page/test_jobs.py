# SPDX-License-Identifier: GPL-2.0-only
"""The pages of jobs in a real browser, of a real master with simulated VMs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from browser import Browser
from buildmaster import wait_for
from commands import status, told
from job_masters import ask
from latent_libvirt.jobs import tokens
from simulated_master import SimulatedMaster
from ui import accessibility, rows

VM_LINK = "document.querySelector('.ll-attempt a[href^=\"#/vms#vm-\"]')"

FINISHED_IN_2020 = r"""
const given = window.fetch;
window.fetch = async (...asked) => {
  const answer = await given(...asked);
  if (!String(asked[0]).includes("plugins/jobs/")) return answer;
  const text = (await answer.text()).replace(/(finished_at.{2,4})20\d\d-/g, "$12020-");
  return new Response(text, answer);
};
"""
"""A script that makes all attempts of a job old: the page goes by the master's clock."""

TITLES = "[...document.querySelectorAll('.ll-part')].map((part) => part.title.split(',')[0])"


def started(master: SimulatedMaster, builder: str) -> dict[str, Any]:
    """Start a job; return its document."""
    token = tokens.create(
        master.directory / "tokens.json",
        name=f"ci-{time.monotonic_ns()}",
        builders=[builder],
        now=time.time(),
        expires=None,
    )
    url = f"{master.ui}jobs"
    wait_for("the job API", lambda: ask("GET", url).status != 503)
    return dict(ask("POST", url, token=token, body={"builder": builder}).document)


def test_a_job_shows_why_it_waits_and_then_the_phases_of_its_vm(master: SimulatedMaster) -> None:
    jobs = [started(master, "check") for _ in range(3)]

    with Browser(jobs[-1]["url"]) as browser:
        why = "document.querySelector('.ll-what')?.textContent ?? ''"
        wait_for("the reason", lambda: "small" in browser.evaluate(why))
        state = "document.querySelector('h1 .ll-state')?.textContent"
        wait_for("the state", lambda: browser.evaluate(state) == "waiting")  # first it is accepted
        browser.go_to("#/jobs")
        name = f"check {jobs[-1]['uuid'][:8]}"
        wait_for("the reason", lambda: waiting_in_list(browser) == [name])

        browser.open("about:blank")
        browser.open(jobs[0]["url"])
        browser.wait_for_text("on host")
        wait_for("the phases", lambda: {"boot", "attach", "build"} <= set(browser.evaluate(TITLES)))
        browser.act(VM_LINK, "click()")
        wait_for("its VM", lambda: browser.evaluate("!!document.querySelector('.ll-marked')"))
        browser.open("about:blank")
        browser.open(jobs[-1]["url"])
        master.let_go()
        browser.wait_for_text("finished: success")
        assert accessibility(browser) == []
        browser.act(VM_LINK, "click()")
        said = "document.querySelector('.ll-no-vm')?.textContent ?? ''"
        wait_for("how its VM ended", lambda: " after its build" in browser.evaluate(said))
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=FINISHED_IN_2020)
        browser.open("about:blank")
        browser.open(jobs[-1]["url"])
        browser.wait_for_text("a VM that is gone for an hour after its end, and that is over.")
        assert not browser.evaluate(f"!!{VM_LINK}")
        assert browser.errors == []


def waiting_in_list(browser: Browser) -> list[str]:
    """Return the names of the jobs that wait for the label ``small``, as the list shows them."""
    return [row[0] for row in rows(browser, "The newest first") if "small" in row[2]]


@pytest.fixture
def holding(master: SimulatedMaster) -> Iterator[SimulatedMaster]:
    """Give a master that holds the VMs of the label ``large`` whose build has failed."""
    large = master.pool()["labels"]["large"] | {"hold_on_failure": "2h"}
    master.save_pool(labels=master.pool()["labels"] | {"large": large})
    wait_for("the edit", lambda: "hold_on_failure" in str(status(master)["changed"]))
    yield master
    for held in status(master)["held"]:
        told(master, "release", held["vm_id"])
    master.save_pool()


def test_a_job_that_failed_shows_the_end_of_its_log_and_how_to_look_into_its_held_vm(
    holding: SimulatedMaster,
) -> None:
    master = holding
    with Browser(started(master, "fails")["url"]) as browser:
        browser.wait_for_text("finished: failure")
        browser.wait_for_text("line 99")
        ends = "[...document.querySelectorAll('.ll-log')]"
        see_end = f"{ends}.map((it) => it.scrollTop + it.clientHeight >= it.scrollHeight - 1)"
        wait_for("both", lambda: browser.evaluate(see_end) == [True, True])
        (held,) = wait_for("the held VM", lambda: status(master)["held"])
        browser.wait_for_text(f"latent-libvirt shell {held['vm_id']}")
        browser.wait_for_text("whom the configuration (authz) allows the action terminal")
        until = r"is held for 2h, until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\."
        wait_for("its time", lambda: re.search(until, browser.text))
        wait_for("the rest of it", lambda: re.search(r"It goes in 1h \d+m, at ", browser.text))
        browser.wait_for_text(f"Where its master runs ({master.directory.name} on ")
        assert accessibility(browser) == []
        browser.act(HELD_LINK, "click()")
        wait_for("its VM", lambda: browser.evaluate(MARKED) == held["worker"])
        assert browser.errors == []


MARKED = "document.querySelector('.ll-marked')?.cells[0].textContent"

HELD_LINK = """
[...document.querySelectorAll("a")].find((it) => it.textContent.startsWith("vm is held: "))
""".strip()
