# SPDX-License-Identifier: GPL-2.0-only
"""What a decision of the pool costs, by the number of hosts and by the number of waiting requests.

A decision is everything that the pool does for one question of Buildbot's, and for the end of the
VM that it leads to. It is timed in the CPU time of its thread, since other programs run too.

With hosts: a pool whose hosts are never connected to, half full. With requests: a real master whose
database holds that many, and whose VMs are up for a moment only; what Buildbot itself does for them
is timed too, with our chooser (``build_chooser.py``) and with Buildbot's.

    make bench-decision
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
from twisted.internet.task import Clock

from buildmaster import BuildMaster, wait_for
from latent_libvirt.config import PoolConfig
from latent_libvirt.host.host import Host
from latent_libvirt.master.service.pool_service import PoolService

SLOTS = 20
LABELS = 100
DECISIONS = 5_000
HOSTS = (1, 10, 100, 1_000, 10_000)
PENDING = (25, 250, 2_500, 25_000)
DEADLINE = 240.0
"""Seconds for a master to serve 12 of them; Buildbot's own chooser may take longer."""

LIMIT = 100.0
"""Microseconds that a decision may cost at 1,000 hosts."""

MASTER_CFG = (Path(__file__).parent / "decision_master.cfg").read_text()


def a_pool(host_count: int) -> Any:
    """Return a pool whose hosts count as usable, and which no Buildbot asks."""
    Host.start = lambda _host: None  # type: ignore[method-assign]
    Host.usable = True  # type: ignore[method-assign, assignment]
    config = PoolConfig.model_validate(
        {
            "master": {"max_vms": 10_000},
            "hosts": {
                f"host-{number}": {
                    "uri": f"test:///host-{number}",
                    "slots": SLOTS,
                    "storage_pool": "default-pool",
                }
                for number in range(host_count)
            },
            "labels": {f"label-{number}": {"image": "debian-12"} for number in range(LABELS)},
        }
    )
    pool: Any = PoolService(config)
    pool.parent = SimpleNamespace(
        master=SimpleNamespace(reactor=Clock(), name="bench", botmaster=None, basedir=".")
    )
    pool._apply(config)  # noqa: SLF001 - Buildbot is not there to do it
    return pool


def by_hosts(host_count: int) -> dict[str, Any]:
    """Keep a pool half full; return the cost of questions, and of what follows the end of a VM."""
    pool = a_pool(host_count)
    enough = min(host_count * SLOTS // 2, 5_000)
    held: list[Any] = []
    questions, ends = [], []
    for number in range(DECISIONS + enough):
        label = f"label-{number % LABELS}"
        questions.append(_cost(lambda label=label: _ask(pool, label)))
        room = pool.vm_pool.admission._reservations.use("worker", label)  # noqa: SLF001 - without making a VM
        if room is not None:
            held.append(room)
        if len(held) > enough:
            room = held.pop(random.randrange(len(held)))  # noqa: S311
            ends.append(_cost(lambda room=room: _end(pool, room)))
    return {"hosts": host_count, "question": summary(questions[enough:]), "end": summary(ends)}


def _ask(pool: Any, label: str) -> None:
    if pool.vm_pool.admission.may_have_room(label) and pool.vm_pool.admission.reserve(
        "worker", label
    ):
        pool.vm_pool.admission.confirm_reservation("worker")


def _end(pool: Any, room: Any) -> None:
    pool.vm_pool.allocator.give_back(room)
    pool.vm_pool.room_changed()


def _cost(work: Callable[[], object]) -> float:
    began = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - began) / 1000


def summary(costs: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile, in microseconds."""
    costs = sorted(costs)
    return {"median": statistics.median(costs), "high": costs[len(costs) * 99 // 100]}


def by_pending(directory: Path, count: int, *, chooser: str) -> dict[str, Any]:
    """Let a master start with *count* requests; return what was timed until 12 VMs have ended."""
    master = BuildMaster(directory, f"CHOOSER = {chooser!r}\n{MASTER_CFG}")
    master.start()
    master.stop()
    insert(directory / "state.sqlite", count)
    (directory / "timings.jsonl").unlink(missing_ok=True)
    master.start()
    done = directory / "done"
    try:
        wait_for("the measurements", done.exists, deadline=DEADLINE)
    except AssertionError:
        print(f"{count} requests, {chooser} chooser: not done after {DEADLINE:g} s")
    finally:
        master.kill()
    lines = (directory / "timings.jsonl").read_text().splitlines()
    costs: dict[str, list[float]] = {}
    for what, cost in map(json.loads, lines):
        costs.setdefault(what, []).append(cost)
    return {"pending": count, "chooser": chooser, "done": done.exists()} | {
        what: {**summary(some), "count": len(some), "sum": sum(some)}
        for what, some in costs.items()
    }


def insert(database: Path, count: int) -> None:
    """Put *count* requests for the builder into a master's database, as a scheduler does."""
    now = int(time.time())
    with sqlite3.connect(database) as db:
        (builder,) = db.execute("SELECT id FROM builders WHERE name = 'check'").fetchone()
        db.execute(
            "INSERT INTO sourcestamps (ss_hash, branch, repository, codebase, project, created_at)"
            " VALUES ('bench', NULL, '', '', '', ?)",
            (now,),
        )
        (stamp,) = db.execute("SELECT max(id) FROM sourcestamps").fetchone()
        numbers = range(1, count + 1)
        db.executemany(
            "INSERT INTO buildsets (id, reason, submitted_at, complete, results)"
            " VALUES (?, 'bench', ?, 0, -1)",
            [(number, now) for number in numbers],
        )
        db.executemany(
            "INSERT INTO buildset_sourcestamps (buildsetid, sourcestampid) VALUES (?, ?)",
            [(number, stamp) for number in numbers],
        )
        db.executemany(
            "INSERT INTO buildrequests (id, buildsetid, builderid, priority, complete, results,"
            " submitted_at, waited_for) VALUES (?, ?, ?, 0, 0, -1, ?, 0)",
            [(number, number, builder, now) for number in numbers],
        )
    db.close()


def plot(hosts: list[dict[str, Any]], pending: list[dict[str, Any]], file: Path) -> None:
    """Draw both to an SVG file."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "latent-libvirt"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - it takes the backend as it is imported

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    counts = [row["hosts"] for row in hosts]
    for what, words in (("question", "a question"), ("end", "the end of a VM")):
        left.plot(counts, [row[what]["median"] for row in hosts], "o-", label=f"{words}, median")
        left.plot(counts, [row[what]["high"] for row in hosts], "^:", label=f"{words}, 99 %")
    left.axhline(LIMIT, color="grey", linewidth=1)
    left.set(xscale="log", yscale="log", xlabel="hosts with 20 slots; 100 labels")
    left.set(ylabel="µs of CPU", title="A decision, by hosts")
    for what, which, chooser, words in (
        ("question", "median", "ours", "a question to the pool, median"),
        ("room changed", "median", "ours", "the pool's end of a VM, median"),
        ("try", "high", "ours", "Buildbot: its longest try of the builder"),
        ("try", "high", "Buildbot's", "the same with its own chooser"),
    ):
        rows = [row for row in pending if row["chooser"] == chooser and row["done"]]
        right.plot(
            [row["pending"] for row in rows],
            [row[what][which] for row in rows],
            "^--" if what == "try" else "o-",
            label=words,
        )
    right.set(xscale="log", yscale="log", xlabel="waiting requests", ylabel="µs of CPU")
    right.set_title("With a real master, by waiting requests")
    for axes in (left, right):
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize="small")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plot", type=Path, default=Path("docs/explanation/images/decision.svg"))
    parser.add_argument("--pending", type=int, nargs="*", default=PENDING)
    arguments = parser.parse_args()
    hosts = []
    for count in HOSTS:
        hosts.append(by_hosts(count))
        print(json.dumps(hosts[-1]), flush=True)
    pending = []
    with tempfile.TemporaryDirectory() as directory:
        for count in arguments.pending:
            for chooser in ("ours", "Buildbot's"):
                place = Path(directory) / f"{count}-{chooser[:4]}"
                pending.append(by_pending(place, count, chooser=chooser))
                print(json.dumps(pending[-1]), flush=True)
    plot(hosts, pending, arguments.plot)
    print(f"drawn: {arguments.plot}")


if __name__ == "__main__":
    main()
