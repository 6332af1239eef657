# SPDX-License-Identifier: GPL-2.0-only
"""Masters whose network is cut while everything else goes on, and comes back."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from buildmaster import wait_for
from installation import Installation, Master
from latent_libvirt.multimaster import process_exit
from machine import Machine, machine
from relay import Relay
from supervisor import supervised

DATABASE, ROUTER = "database", "router"

BEGUN, SUCCEEDED = "RunProcess._startCommand", "exit code 0, elapsedTime: "
"""What a worker logs of a command."""

MakeMachine = Callable[[], Machine]


@pytest.fixture
def make_machine(installation: Installation) -> Iterator[MakeMachine]:
    """Give what makes machines with cables to the database and the router."""
    sockets = Path(tempfile.mkdtemp(prefix="llv-"))
    services = {
        DATABASE: str(installation.postgresql.socket),
        ROUTER: str(sockets / "router"),
    }
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, sockets)
        stack.callback(Relay(services[ROUTER], str(installation.router.port)).stop)
        yield lambda: stack.enter_context(machine(services))
        installation.end()


def interface(installation: Installation, name: str, on: Machine, *, settings: str = "") -> Master:
    """Make an interface master that runs on a machine; it is not started.

    Its builds run until the test says so.
    """
    host, _, port = on.addresses[DATABASE].partition(":")
    db_url = sa.make_url(installation.db_url).set(host=host, port=int(port), query={})
    master = installation.interface(
        name,
        db_url=db_url.render_as_string(),
        router_url=f"ws://{on.addresses[ROUTER]}/ws",
        settings=settings,
        steps=installation.until_told,
    )
    master.enter = on.enter
    return master


def test_what_a_master_does_while_it_is_cut_off_does_not_count(
    installation: Installation, make_machine: MakeMachine
) -> None:
    machine = make_machine()
    scheduler, first = installation.scheduler(), interface(installation, "first", machine)
    installation.start(scheduler, first)
    job = scheduler.force()
    wait_for("its command to run", lambda: BEGUN in first.log)
    installation.start(installation.interface("second", steps=installation.until_told))

    machine.pull(DATABASE)
    scheduler.wait_for_build(job, number=2)
    installation.go_on()
    wait_for("its command to succeed all the same", lambda: SUCCEEDED in first.log)
    assert scheduler.wait_for_result(job) == "SUCCESS"
    assert first.status() is None
    machine.plug(DATABASE)

    assert first.wait() == process_exit.STATUS
    assert installation.history(job) == [("first", "RETRY"), ("second", "SUCCESS")]
    assert installation.state(first) == "dead"


def test_a_master_that_is_cut_off_from_everything_leaves_and_its_jobs_run_elsewhere(
    installation: Installation, make_machine: MakeMachine
) -> None:
    machine = make_machine()
    scheduler, first = installation.scheduler(), interface(installation, "first", machine)
    installation.start(scheduler, first)
    job = scheduler.force()
    scheduler.wait_for_build(job)
    installation.start(installation.interface("second", steps=installation.until_told))

    machine.pull(DATABASE, ROUTER)

    assert first.wait() == process_exit.STATUS
    installation.go_on()
    assert scheduler.wait_for_result(job) == "SUCCESS"
    assert installation.history(job) == [("first", "RETRY"), ("second", "SUCCESS")]


def test_when_all_masters_with_workers_are_cut_off_each_job_has_one_result_afterwards(
    installation: Installation, make_machine: MakeMachine
) -> None:
    machines = [make_machine(), make_machine()]
    scheduler = installation.scheduler()
    masters = [
        interface(installation, name, machine)
        for name, machine in zip(("first", "second"), machines, strict=True)
    ]
    installation.start(scheduler, *masters)
    with supervised(masters):
        jobs = [scheduler.force() for _ in range(4)]
        for job in jobs:
            scheduler.wait_for_build(job)

        for machine in machines:
            machine.pull(DATABASE)
        wait_for(
            "both to be declared dead", lambda: {*map(installation.state, masters)} == {"dead"}
        )
        installation.go_on()
        for machine in machines:
            machine.plug(DATABASE)

        for job in jobs:
            assert scheduler.wait_for_result(job) == "SUCCESS"
            results = [result for _, result in installation.history(job)]
            assert results == ["RETRY", "SUCCESS"]


def test_a_master_may_be_made_to_leave_when_it_is_cut_off(
    installation: Installation, make_machine: MakeMachine
) -> None:
    machine = make_machine()
    first = interface(installation, "first", machine, settings="leave_when_cut_off=3")
    installation.start(first)

    machine.pull(DATABASE)

    assert first.wait() == process_exit.STATUS
    assert "The database has not answered for 3 s" in first.log
