# SPDX-License-Identifier: GPL-2.0-only
"""Several masters at work, and two of them hurt: on this machine, from nothing, with real VMs.

``make multimaster`` runs this in the clone's ``.venv``: a PostgreSQL, a router, a scheduler master
and two interface masters that share a host. Many jobs are started, one interface master is killed
in the middle, the other is stopped as for an upgrade, and all jobs must end with success, each
once, at the address that it had from the start. The last line is the count, as JSON. Nothing
listens but on loopback, and nothing is left but caches in the clone's ``.cache``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import click
import libvirt

import run as demo
from demo_end import Ending
from demo_master import DemoError, free_ports
from demo_output import chapter, console
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.sandbox import PrivateLibvirtd
from latent_libvirt.sandbox.postgresql import PrivatePostgreSQL
from latent_libvirt.sandbox.private import STOP_DEADLINE as LIBVIRTD_STOP_DEADLINE
from latent_libvirt.sandbox.private import directory_of_sockets
from latent_libvirt.sandbox.router import PrivateRouter
from rest import Job, Jobs, State
from show_faults import Installation, follow, is_time, kill_one, stop_one
from show_masters import STOP_DEADLINE, Master, Supervisor, make_template
from show_verdict import MOST_FAILOVER, Verdict
from show_witness import Witness
from web_session import make_password, write_secret

WORK_PREFIX: Final = "show-"
BUILDER: Final = "check"
SLOTS: Final = 4  # of the host
MAX_VMS: Final = {"north": 3, "south": 2}  # of each master: together more than the host has
KILL_AFTER: Final = 0.25  # of the jobs
STOP_AFTER: Final = 0.5


@click.command(help=__doc__)
@click.option("--jobs", default=40, show_default=True, help="How many jobs to run.")
@click.option(
    "--failover",
    default=MOST_FAILOVER,
    show_default=True,
    help="Seconds after which others have to be able to run a dead master's jobs.",
)
def main(*, jobs: int, failover: float) -> None:
    """Run the show and end with its exit status."""
    ending = Ending(STOP_DEADLINE + LIBVIRTD_STOP_DEADLINE)
    ending.listen()
    try:
        verdict = show(jobs, ending)
    except KeyboardInterrupt:
        demo.end_on_request(WORK_PREFIX)
    except (DemoError, LatentLibvirtError, libvirt.libvirtError) as error:
        console.print("The show failed:", style="red")
        console.print(str(error), markup=False)
        sys.exit(1)
    faults = [*verdict.faults(most_failover=failover)]
    for fault in faults:
        console.print(f"[red]✗[/red] {fault}")
    print(verdict, flush=True)
    sys.exit(1 if faults else 0)


def show(count: int, ending: Ending) -> Verdict:
    """Do all of it; return what it has come to."""
    directory_of_sockets()  # what it refuses is to be seen before the long work
    demo.bring_image()
    with (
        demo.working_directory(WORK_PREFIX) as work,
        demo.hypervisor(work / "libvirtd") as host,
        database(work) as postgresql,
        router(work) as messages,
    ):
        demo.publish_image(host)
        with Witness(host.uri) as witness:
            with installed(work, host, postgresql.url, messages, ending) as installation:
                states, failover = run_jobs(installation, count)
            demo.check_nothing_is_left(host, may_keep=False)
    verdict = Verdict.of(states.values(), failover=failover, max_vms_seen=witness.most, slots=SLOTS)
    tell(states, witness)
    return verdict


@contextmanager
def database(work: Path) -> Iterator[PrivatePostgreSQL]:
    """Run a PostgreSQL of the show's own."""
    with ExitStack() as stack:
        with chapter("Start a PostgreSQL"):
            server = stack.enter_context(PrivatePostgreSQL(work / "postgresql"))
        yield server


@contextmanager
def router(work: Path) -> Iterator[PrivateRouter]:
    """Run a message router of the show's own."""
    server = PrivateRouter(work / "router", environment=demo.CACHE / "crossbar-venv")
    with ExitStack() as stack:
        with chapter("Start a router", "crossbar, which is installed the first time"):
            stack.enter_context(server)
        yield server


@contextmanager
def installed(
    work: Path, host: PrivateLibvirtd, db_url: str, messages: PrivateRouter, ending: Ending
) -> Iterator[Installation]:
    """Run one scheduler master, and interface masters that share a host."""
    web, *ports = free_ports(1 + len(MAX_VMS))
    url = f"http://127.0.0.1:{web}/"
    shared = {"CI_DB_URL": db_url, "CI_ROUTER_URL": messages.url, "CI_URL": url}
    shared["CI_ROUTER_SECRET_FILE"] = str(work / "router.secret")
    write_secret(work / "router.secret", messages.secret)
    password = make_password(work / "web.password")
    template = make_template(work / "template", db_url=db_url)
    scheduler = Master(
        work / "scheduler",
        template=template,
        configuration="scheduler.cfg",
        environment=shared
        | {
            "CI_WEB": f"tcp:{web}:interface=127.0.0.1",
            "CI_WEB_PASSWORD_FILE": str(work / "web.password"),
        },
    )
    interfaces = [
        Master(
            work / name,
            template=template,
            configuration="interface.cfg",
            environment=shared | {"CI_WORKERS": f"tcp:{port}:interface=127.0.0.1"},
        )
        for name, port in zip(MAX_VMS, ports, strict=True)
    ]
    for master in interfaces:
        master.write_pool(uri=host.uri, slots=SLOTS, max_vms=MAX_VMS[master.name])
    token = scheduler.make_token()
    supervisor = Supervisor([scheduler, *interfaces])
    try:
        # All of it is inside: Ctrl-C may come between any two lines, and the masters are to end.
        with chapter("Start a scheduler master and two interface masters"):
            supervisor.__enter__()
        console.print(f"  the web UI: {url} (user admin, password {password})", soft_wrap=True)
        yield Installation(Jobs(url, token, password), tuple(interfaces), supervisor)
    finally:
        ending.begin()
        with chapter("Stop the masters and their VMs"):
            supervisor.__exit__()


def run_jobs(installation: Installation, count: int) -> tuple[dict[Job, State], float]:
    """Run *count* jobs and hurt both masters in the meantime; return what has become of them all.

    :returns: that, and the seconds until the jobs of the killed master were anybody's again.
    """
    jobs = [installation.jobs.start(BUILDER) for _ in range(count)]
    console.print(f"  {count} jobs are accepted; the first is {jobs[0].url}")
    with chapter(f"Run {count} jobs") as detail:
        follow(installation, jobs, detail, until=partial(is_time, share=KILL_AFTER))
    victim, failover = kill_one(installation, jobs)
    with chapter("Run some more") as detail:
        follow(installation, jobs, detail, until=partial(is_time, share=STOP_AFTER))
    (other,) = (master for master in installation.interfaces if master is not victim)
    stop_one(installation, other, jobs)
    with chapter("Run the rest") as detail:
        states = follow(
            installation, jobs, detail, until=lambda s: all(x.is_over for x in s.values())
        )
    check_urls(installation.jobs, jobs)
    return states, failover


def check_urls(jobs: Jobs, accepted: list[Job]) -> None:
    """See that each job is green at the URL that it had from the start.

    :raises DemoError: some are not.
    """
    with chapter("Look at the URL of each job"):
        red = [job.url for job in accepted if not jobs.is_green_at_its_url(job)]
    if red:
        raise DemoError("\n".join(["these URLs do not show a job that has succeeded:", *red]))


def tell(states: dict[Job, State], witness: Witness) -> None:
    """Show what the run has come to.

    :raises DemoError: a master had more VMs than it may have.
    """
    console.print(f"  at most {witness.most} VMs at once on the host, which has {SLOTS} slots")
    for name, most in sorted(witness.most_of_master.items()):
        console.print(f"  at most {most} of {name}, which may have {MAX_VMS[name]}")
        if most > MAX_VMS[name]:
            raise DemoError(f"{name} had {most} VMs at once, and may have {MAX_VMS[name]}")
    again = sum(len(state.attempts) > 1 for state in states.values())
    console.print(f"  {again} jobs needed more than one attempt")


if __name__ == "__main__":
    main()
