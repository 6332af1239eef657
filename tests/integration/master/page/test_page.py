# SPDX-License-Identifier: GPL-2.0-only
"""The page "VMs" in a real browser, of a real master with simulated VMs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from browser import Browser
from buildmaster import wait_for
from commands import status
from simulated_master import SimulatedMaster

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser(master: SimulatedMaster) -> Iterator[Browser]:
    """Give a browser with the page open."""
    with Browser(f"{master.ui}#/vms") as browser:
        browser.wait_for_text("Pool latent_libvirt of")
        yield browser


def rows(browser: Browser, caption: str) -> list[list[str]]:
    """Return the texts of the rows of the table with that caption."""
    script = f"""[...document.querySelectorAll(".ll-table")]
        .filter((table) => table.caption.textContent === {caption!r})
        .flatMap((table) => [...table.tBodies[0].rows])
        .map((row) => [...row.cells].map((cell) => cell.textContent.trim()))"""
    return list(browser.evaluate(script) or [])


def test_it_is_in_buildbots_menu_and_shows_the_hosts_and_labels(browser: Browser) -> None:
    wait_for("the spare", lambda: rows(browser, "Spares"))

    assert "VMs" in browser.evaluate("document.querySelector('a[href=\"#/vms\"]').textContent")
    assert [row[0] for row in rows(browser, "Hosts")] == ["alpha", "beta"]
    assert [row[-1] for row in rows(browser, "Hosts")] == ["ready", "ready"]
    assert [row[:5] for row in rows(browser, "Labels")] == [
        ["small", "0", "2", "0", "0"],
        ["large", "1", "4", "1", "0"],
    ]
    assert browser.errors == []


def test_a_build_appears_with_its_vm_and_a_request_without_room_with_its_reason(
    master: SimulatedMaster, browser: Browser
) -> None:
    before = browser.answers

    requests = [master.force("check") for _ in range(3)]

    vms = wait_for("both VMs", lambda: building(rows(browser, "VMs with a worker"), 2))
    assert {vm[1] for vm in vms} == {"small"}
    assert [vm[-1].startswith("check #") for vm in vms] == [True, True]
    (waiting,) = wait_for("the reason", lambda: rows(browser, "Waiting requests"))
    assert waiting[:2] == [str(requests[2]), "check"]
    assert "small" in waiting[-1]
    assert shown(browser) == told(master)
    assert browser.answers.keys() >= before.keys()
    master.let_go()
    wait_for("their end", lambda: not rows(browser, "VMs with a worker"))


def building(vms: list[list[str]], count: int) -> list[list[str]] | None:
    """Return the rows of VMs, if so many build."""
    return vms if [vm[4] for vm in vms] == ["build"] * count else None


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


def test_a_master_that_dies_shows_as_such_and_the_page_finds_the_next_one(
    master: SimulatedMaster, browser: Browser
) -> None:
    master.kill()
    browser.wait_for_text("The connection to the master is lost")

    master.start()

    wait_for("the connection", lambda: "is lost" not in browser.text)
    wait_for("the hosts", lambda: [row[-1] for row in rows(browser, "Hosts")] == ["ready"] * 2)
