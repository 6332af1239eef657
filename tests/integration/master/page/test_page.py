# SPDX-License-Identifier: GPL-2.0-only
"""The page "VMs" in a real browser, of a real master with simulated VMs."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from browser import Browser
from buildmaster import wait_for
from commands import status
from commands import told as _told
from latent_libvirt.config.units import MIB
from latent_libvirt.master.usage.record import NAME
from latent_libvirt.master.usage.sums import ENOUGH
from latent_libvirt.status.usage import BuildUsage
from simulated_master import SimulatedMaster
from ui import accessibility, rows

MARKED = "document.querySelectorAll('.ll-marked').length"

NEEDS = "document.querySelector('.ll-needs')?.textContent ?? ''"

HOST_TEXTS = """
import("./plugins/latent_libvirt/tables.js").then(({ densityText, savedText }) => [
    densityText({ density: { vms: 3, used: 814647869, most: 25275903180, shared: 2 ** 29 } }),
    densityText({ density: { vms: 1, used: 2 ** 30, most: 2 ** 31, shared: null } }),
    savedText({
        saved: [{ slot: 1 }, { slot: 2 }, { slot: 2 }],
        saved_state_space: { used: 2 ** 29, most: 20 * 2 ** 30 },
    }),
])
"""
"""What the table of hosts says of memory: simulated hosts have none in use."""

FAILED = re.compile(r"(1 VM has|\d+ VMs have) failed, the last (\d+m )?\d+ ?s ago$")

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser(master: SimulatedMaster) -> Iterator[Browser]:
    """Give a browser with the page open."""
    with Browser(f"{master.ui}#/vms") as browser:
        browser.wait_for_text("Pool latent_libvirt of")
        yield browser


def test_it_is_in_buildbots_menu_and_shows_the_hosts_and_labels(browser: Browser) -> None:
    labels = [["small", "0", "2", "0", "0"], ["large", "1", "4", "1", "0"]]
    wait_for("the labels", lambda: [row[:5] for row in rows(browser, "Labels")] == labels)
    wait_for("the hosts", lambda: states(browser) == [("alpha", "ready"), ("beta", "ready")])
    wait_for("the spare", lambda: rows(browser, "Spares"))

    menu = "document.querySelector('a[href=\"#/vms\"]')?.textContent ?? ''"
    assert "VMs" in browser.evaluate(menu)
    heads = "[...document.querySelector('.ll-table').querySelectorAll('th[title]')]"
    hints = dict(browser.evaluate(f"{heads}.map((head) => [head.textContent, head.title])"))
    assert hints["Slots"] == "VMs that the host may run at a time"
    assert browser.promised(HOST_TEXTS) == [
        "3 VMs use 0.76 of 23.54 GiB, the host saves 512 MiB by KSM",
        "1 VM uses 1 of 2 GiB",
        "2 slots, 0.5 of 20 GiB",
    ]
    assert browser.errors == []


def states(browser: Browser) -> list[tuple[str, str]]:
    """Return the hosts and their states."""
    return [(row[0], row[-1]) for row in rows(browser, "Hosts")]


def test_a_build_appears_with_its_vm_and_a_request_without_room_with_its_reason(
    master: SimulatedMaster, browser: Browser
) -> None:
    requests = [master.force("check") for _ in range(3)]

    vms = wait_for("both VMs", lambda: building(rows(browser, "VMs with a worker"), 2))
    assert {vm[1] for vm in vms} == {"small"}
    third = [(str(requests[2]), "check", True)]
    # The second is listed until the next look at the queue.
    wait_for("it", lambda: waiting(browser, "small") == third)
    wait_for("the page to say what the status says", lambda: shown(browser) == told(master))
    for text, address in links_to_vms(master, requests[0]):
        assert text.startswith("VM latent-libvirt-")
        browser.go_to(address)
        wait_for("the VM to be marked", lambda: browser.evaluate(MARKED) == 1)
        browser.go_to("#/vms")
        wait_for("none to be marked", lambda: browser.evaluate(MARKED) == 0)
    master.let_go()
    wait_for("their end", lambda: not rows(browser, "VMs with a worker"))


def links_to_vms(master: SimulatedMaster, request: int) -> list[tuple[str, str]]:
    """Return the links on the page of a build, and of its worker, to its VM."""
    build = master.wait_for_build(request)
    steps = master.get(f"builds/{build['buildid']}/steps")
    of_build = [(url["name"], url["url"]) for step in steps for url in step["urls"]]
    (worker,) = master.get(f"workers/{build['workerid']}")
    links = [*of_build, ("VM latent-libvirt-", worker["workerinfo"]["access_uri"])]
    assert len(links) == 2
    return links


def building(vms: list[list[str]], count: int) -> list[list[str]] | None:
    """Return the rows of VMs, if so many build."""
    return vms if [(vm[4], vm[-1][:7]) for vm in vms] == [("build", "check #")] * count else None


def waiting(browser: Browser, reason: str) -> list[tuple[str, str, bool]]:
    """Return the requests that wait, their builders, and whether that is in the reason."""
    return [(row[0], row[1], reason in row[-1]) for row in rows(browser, "Waiting requests")]


def shown(browser: Browser) -> dict[str, Any]:
    """Return what the page shows of hosts, labels and VMs."""
    return {
        "hosts": [row[:2] for row in rows(browser, "Hosts")],
        "labels": [row[:3] for row in rows(browser, "Labels")],
        "vms": sorted([row[0], *row[2:5]] for row in rows(browser, "VMs with a worker")),
        "waiting": [[row[0], row[-1]] for row in rows(browser, "Waiting requests")],
    }


def told(master: SimulatedMaster) -> dict[str, Any]:
    """Return the same of what ``latent-libvirt status --json`` prints."""
    seen = status(master)
    return {
        "hosts": [[host["name"], str(host["used"])] for host in seen["hosts"]],
        "labels": [
            [label["name"], str(label["used"]), str(label["max_vms"])] for label in seen["labels"]
        ],
        "vms": sorted(
            [vm["worker"], vm["host"], vm["domain"], vm["phase"]] for vm in seen["leases"]
        ),
        "waiting": [[str(each["request"]), each["reason"]] for each in seen["explained"]],
    }


def test_what_is_wrong_with_the_pools_file_is_shown_as_text(
    master: SimulatedMaster, browser: Browser
) -> None:
    labels = {"small": {"image": "base"}, "large": {"image": HOSTILE}}

    master.save_pool(labels=labels)

    browser.wait_for_text("is refused")
    browser.wait_for_text(HOSTILE)
    assert browser.evaluate("document.querySelectorAll('.ll-page img').length") == 0
    master.save_pool()
    wait_for("the file to be good", lambda: "is refused" not in browser.text)


def test_failures_slots_and_what_an_edit_changed_are_shown_and_every_reader_can_read_them(
    master: SimulatedMaster, browser: Browser
) -> None:
    spoilt = master.pool()
    spoilt["images"]["gone"] = {"volume": "gone.qcow2"}
    spoilt["labels"]["small"]["image"] = "gone"

    master.save_pool(**spoilt)
    wait_for("the edit", lambda: "image base → gone" in str(status(master)["changed"]))
    browser.wait_for_text("What the last edit of pool.yaml changed, ")
    edited = "document.querySelector('.ll-edit summary time').dateTime"
    at = f"new Date({edited}).getTime() / 1000"
    wait_for("its time", lambda: abs(browser.evaluate(at) - status(master)["changed_at"]) < 0.01)
    request = master.force("check")

    found = "has no volume 'gone.qcow2'"
    failure = wait_for(
        "the failure", lambda: [row for row in rows(browser, "Last failures") if found in row[-1]]
    )[0]
    assert "Upload it there" in failure[-1]
    assert failure[4].startswith("check #")
    wait_for("a count of it", lambda: FAILED.match(browser.evaluate(NEEDS)))
    assert master.wait_for_result(request) == "EXCEPTION"
    master.save_pool()
    edited = "document.querySelector('.ll-edit')?.textContent ?? ''"
    change = "label small: image gone → base"
    wait_for("the edit", lambda: change in browser.evaluate(edited))
    opened = "document.querySelectorAll('.ll-page details').forEach((d) => { d.open = true; })"
    browser.evaluate(opened)
    browser.wait_for_text(change)
    lines = "[...document.querySelectorAll('.ll-slot-line')].map((line) => line.ariaLabel)"
    slots = wait_for("the slots", lambda: browser.evaluate(lines))
    assert [line.partition(",")[0] for line in slots] == [
        f"Slot {slot} of host {host}" for host in ("alpha", "beta") for slot in (1, 2)
    ]
    for size in ((1280, 900), (390, 800)):
        browser.resize(*size)
        assert accessibility(browser) == []
        assert browser.evaluate("document.querySelector('.ll-page').scrollWidth") <= size[0]
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_what_builds_have_used_is_shown_with_advice_as_usage_prints_it(
    master: SimulatedMaster, browser: Browser
) -> None:
    while len(master.get("builds")) < ENOUGH:
        master.force("check")
        master.let_go()
    (small,) = [label for label in status(master)["labels"] if label["name"] == "small"]
    record_usage(master.directory / "state.sqlite", small["memory"])

    browser.act("document.querySelector('.ll-usage')", "open = true")
    choose(browser, 1, "7")

    shown = wait_for("the sums", lambda: rows(browser, "Used by builds"))
    report = json.loads(_told(master, "usage", "--format", "json"))
    assert [row[:2] for row in shown] == [
        [each["name"], str(each["builds"])] for each in report["sums"]
    ]
    given = report["sums"][0]["memory_seconds"] / 3600 / MIB
    assert shown[0][5] == f"{given:.3g} MiB h"
    (advice,) = report["advice"]
    browser.wait_for_text(advice)
    choose(browser, 0, "label")
    wait_for("labels", lambda: [row[0] for row in rows(browser, "Used by builds")] == ["small"])
    assert accessibility(browser) == []
    assert browser.errors == []


def choose(browser: Browser, number: int, value: str) -> None:
    """Choose something in the part of the page about usage."""
    chosen = f"document.querySelectorAll('.ll-usage select')[{number}]"
    browser.act(chosen, f"value = {value!r}")
    browser.act(chosen, "dispatchEvent(new Event('change', {bubbles: true}))")


def record_usage(database: Path, memory: int) -> None:
    """Store what libvirt's test driver does not count: that each build has used the same."""
    used = BuildUsage("small", "alpha", 1, memory, 120.0, 1.0, 0.1, memory // 10, 1, 2, 3, 4)
    value = json.dumps(asdict(used))
    with sqlite3.connect(database, timeout=60) as connection:
        (builds,) = connection.execute("SELECT count(*) FROM builds").fetchone()
        connection.execute(
            "INSERT INTO build_data (buildid, name, value, length, source) "
            "SELECT id, ?, ?, ?, 'test' FROM builds",
            (NAME, value.encode(), len(value)),
        )
    assert builds >= ENOUGH


def test_a_master_that_dies_shows_as_such_and_the_page_finds_the_next_one(
    master: SimulatedMaster, browser: Browser
) -> None:
    master.kill()
    browser.wait_for_text("The connection to the master is lost")

    master.start()

    wait_for("the connection", lambda: "is lost" not in browser.text)
    wait_for("the hosts", lambda: [row[-1] for row in rows(browser, "Hosts")] == ["ready"] * 2)
