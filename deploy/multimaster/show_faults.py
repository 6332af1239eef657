# SPDX-License-Identifier: GPL-2.0-only
"""What is done to the show's masters while jobs run, and when."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from demo_master import DemoError
from demo_output import chapter
from rest import Job, Jobs, State
from show_masters import Master, Supervisor

DEADLINE: Final = 1800.0  # seconds for all jobs
POLL_INTERVAL: Final = 0.3  # seconds
TO_HEAR: Final = 2  # seconds that a claim may be under way when a master is told to stop

States = dict[Job, State]


@dataclass(frozen=True)
class Installation:
    """What the show is about.

    :param supervisor: of all its masters.
    """

    jobs: Jobs
    interfaces: tuple[Master, ...]
    supervisor: Supervisor

    def number(self, master: Master) -> int:
        """Return the number that a master has in Buildbot's database."""
        directory = str(master.directory.resolve())
        return next(number for number, of in self.jobs.masters().items() if of == directory)


def follow(
    installation: Installation,
    jobs: list[Job],
    show_detail: Callable[[str], None],
    *,
    until: Callable[[States], bool],
) -> States:
    """Watch the jobs until a condition holds; return their states then.

    :raises DemoError: it does not hold in time.
    """
    deadline = time.monotonic() + DEADLINE
    while not until(states := installation.jobs.states(jobs)):
        over = sum(state.is_over for state in states.values())
        running = sum(state.running_on is not None for state in states.values())
        show_detail(f"{over} are over, {running} run")
        if time.monotonic() > deadline:
            raise DemoError(f"only {over} of {len(jobs)} jobs were over after {DEADLINE:.0f} s")
        time.sleep(POLL_INTERVAL)
    return states


def is_time(states: States, *, share: float) -> bool:
    """Tell whether so many jobs are over, and some run.

    :param share: of all jobs, 0 to 1.
    :raises DemoError: all are over: there is nothing left to be hurt.
    """
    over = sum(state.is_over for state in states.values())
    if over == len(states):
        raise DemoError(f"{over} jobs are too few: all were over before a master could be hurt")
    return over >= share * len(states) and any(s.running_on is not None for s in states.values())


def kill_one(installation: Installation, jobs: list[Job]) -> tuple[Master, float]:
    """Kill the interface master that runs most.

    :returns: it, and the seconds until others may run its jobs. When they do depends on what room
        there is, and on the jobs that have waited for longer.
    """
    states = installation.jobs.states(jobs)
    number, _ = Counter(
        state.running_on for state in states.values() if state.running_on is not None
    ).most_common(1)[0]
    victim = next(m for m in installation.interfaces if installation.number(m) == number)
    installation.supervisor.leave_down(victim)
    with chapter(
        f"Kill the master {victim.name}, and wait until others may run its jobs"
    ) as detail:
        victim.kill()
        killed = time.monotonic()
        orphans = [job for job, state in states.items() if state.running_on == number]
        follow(installation, orphans, detail, until=lambda s: are_nobodys(s, number))
        failover = time.monotonic() - killed
    installation.supervisor.bring_up(victim)
    return victim, failover


def are_nobodys(states: States, dead: int) -> bool:
    """Tell whether the dead master has none of the jobs any more."""
    return all(state.running_on != dead for state in states.values())


def stop_one(installation: Installation, master: Master, jobs: list[Job]) -> None:
    """Stop a master as for an upgrade; it is started again.

    :raises DemoError: it did not end on its own, or began a build after it was told to stop.
    """
    number = installation.number(master)
    installation.supervisor.leave_down(master)
    with chapter(f"Stop the master {master.name} as for an upgrade; its builds finish first"):
        told = time.time()
        master.tell_to_stop()
        if master.await_end() != 0:
            raise DemoError(f"{master.name} did not stop in good order")
        states = installation.jobs.states(jobs)
    installation.supervisor.bring_up(master)
    late = [
        job.url
        for job, state in states.items()
        for attempt in state.attempts
        if attempt.master == number and attempt.started_at > told + TO_HEAR
    ]
    if late:
        raise DemoError("\n".join([f"{master.name} began these when it was to stop:", *late]))
