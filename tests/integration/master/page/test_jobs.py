# SPDX-License-Identifier: GPL-2.0-only
"""The pages of jobs in a real browser, of a real master with simulated VMs."""

from __future__ import annotations

import time
from typing import Any

from browser import Browser
from buildmaster import wait_for
from job_masters import ask
from latent_libvirt.jobs import tokens
from simulated_master import SimulatedMaster
from ui import accessibility, rows

TITLES = "[...document.querySelectorAll('.ll-part')].map((part) => part.title.split(',')[0])"


def test_a_job_shows_why_it_waits_and_then_the_phases_of_its_vm(master: SimulatedMaster) -> None:
    token = tokens.create(
        master.directory / "tokens.json",
        name="ci",
        builders=["check"],
        now=time.time(),
        expires=None,
    )
    url = f"{master.ui}jobs"
    wait_for("the job API", lambda: ask("GET", url).status != 503)

    def post() -> dict[str, Any]:
        return dict(ask("POST", url, token=token, body={"builder": "check"}).document)

    jobs = [post() for _ in range(3)]

    with Browser(jobs[-1]["url"]) as browser:
        why = "document.querySelector('.ll-what')?.textContent ?? ''"
        wait_for("the reason", lambda: "small" in browser.evaluate(why))
        assert browser.evaluate("document.querySelector('h1 .ll-state').textContent") == "waiting"
        browser.evaluate("window.location.hash = '#/jobs'")
        name = f"check {jobs[-1]['uuid'][:8]}"
        found = wait_for(
            "the reason",
            lambda: [row for row in rows(browser, "The newest first") if "small" in row[2]],
        )
        assert [row[0] for row in found] == [name]

        browser.open("about:blank")
        browser.open(jobs[0]["url"])
        browser.wait_for_text("on host")
        wait_for("the phases", lambda: {"boot", "attach", "build"} <= set(browser.evaluate(TITLES)))
        link = "document.querySelector('.ll-attempt a[href^=\"#/vms?vm=\"]')"
        browser.evaluate(f"{link}.click()")
        wait_for("its VM", lambda: browser.evaluate("!!document.querySelector('.ll-marked')"))
        browser.open("about:blank")
        browser.open(jobs[-1]["url"])
        master.let_go()
        browser.wait_for_text("finished: success")
        assert accessibility(browser) == []
        assert browser.errors == []
