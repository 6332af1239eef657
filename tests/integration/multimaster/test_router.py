# SPDX-License-Identifier: GPL-2.0-only
"""A router that is killed, hangs, is not there yet, or is tried by strangers.

Masters are not deaf after it.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
import pytest_twisted

import strangers
from buildmaster import DEADLINE, wait_for
from installation import Installation
from latent_libvirt.multimaster import process_exit
from latent_libvirt.sandbox.router import REALM, PrivateRouter
from supervisor import supervised

WITHIN = 120.0
"""Seconds from the router's return until jobs run: far more than it takes.

docs/explanation/several-masters.md has the measured figure."""


def test_a_router_that_is_killed_costs_no_build(installation: Installation) -> None:
    scheduler = installation.scheduler()
    first = installation.interface("first", steps=installation.until_told)
    installation.start(scheduler, first)
    job = scheduler.force()
    scheduler.wait_for_build(job)

    installation.router.kill()
    statuses = [master.wait() for master in (scheduler, first)]
    installation.router.start()
    with supervised([scheduler, first]):
        back = time.monotonic()
        wait_for("the job to run again", lambda: installation.history(job)[1:])
        took = time.monotonic() - back
        installation.go_on()
        wait_for("the job to be done", lambda: installation.history(job)[1][1])

    assert statuses == [process_exit.STATUS] * 2
    assert took < WITHIN
    assert installation.history(job) == [("first", "RETRY"), ("first", "SUCCESS")]


def test_masters_that_start_before_the_router_wait_for_it_and_are_not_deaf(
    installation: Installation,
) -> None:
    scheduler = installation.scheduler()
    first = installation.interface("first", settings=f"router_timeout={DEADLINE}")
    installation.router.kill()
    try:
        scheduler.launch()
        assert scheduler.wait() == process_exit.STATUS  # nobody hears of jobs that it accepts
        assert "There is no session with the router" in scheduler.log
        first.launch()
        wait_for("it to wait", lambda: "waiting for the router" in first.log)
    finally:
        installation.router.start()
    scheduler.launch()
    wait_for("both to run", lambda: scheduler.serves() and first.serves())

    assert scheduler.wait_for_result(scheduler.force()) == "SUCCESS"


def test_a_router_that_hangs_is_left(installation: Installation) -> None:
    first = installation.interface("first")
    installation.start(first)

    installation.router.freeze()
    try:
        assert first.wait() == process_exit.STATUS
    finally:
        installation.router.kill()
        installation.router.start()

    assert "The router has not answered" in first.log


@pytest.mark.parametrize(
    "how",
    [{}, {"authmethods": ["anonymous"]}, {"authmethods": ["wampcra"], "authid": "buildbot"}],
    ids=["as Buildbot does", "as anybody", "by a guess"],
)
@pytest_twisted.ensureDeferred
async def test_a_stranger_does_not_get_into_the_router(
    router: PrivateRouter, how: dict[str, Any]
) -> None:
    reason = await strangers.join(router.url, REALM, **how)

    assert reason.startswith("wamp.error.")


def test_a_master_with_another_secret_is_told_what_is_wrong_and_none_is_written_down(
    installation: Installation,
) -> None:
    other = "this is not what the router has"
    first = installation.interface("first", router_secret=other)
    first.launch()

    assert first.wait() == process_exit.STATUS

    assert "The router refuses this master" in first.log
    assert "router_secret" in first.log
    router_log = installation.router.log.read_text()
    for secret in (other, installation.router.secret):
        assert secret not in first.log + router_log
