# SPDX-License-Identifier: GPL-2.0-only
"""What users may do on the page "VMs", and what nobody may, of a real master with simulated VMs."""

from __future__ import annotations

import getpass
from typing import Any

import pytest

from browser import Browser
from buildmaster import wait_for
from commands import status, told
from page_users import User, audit, building, logged_in, next_number
from simulated_master import SimulatedMaster
from ui import accessibility, rows

DRAIN = {"command": "drain", "name": "alpha", "kind": "host"}
UNDRAIN = DRAIN | {"command": "undrain"}


def is_drained(master: SimulatedMaster) -> bool:
    """Whether the first host is."""
    return bool(status(master)["hosts"][0]["drained"])


@pytest.mark.parametrize("name", ["", "dev"])
def test_a_user_whom_no_rule_allows_anything_is_refused_and_nothing_is_done(
    master: SimulatedMaster, name: str
) -> None:
    before = len(audit(master))

    code, answer = User(master, name).ask(DRAIN)

    assert (code, not answer["error"]) == (403, False)
    assert not is_drained(master)
    (line,) = wait_for("its line", lambda: audit(master)[before:])
    assert (line["user"], line["outcome"], line["command"], line["name"]) == (
        *(name or "anonymous", "refused"),
        *("drain", "alpha"),
    )


def test_a_user_may_do_what_a_rule_says_and_nothing_else(master: SimulatedMaster) -> None:
    user, before = User(master, "ops"), len(audit(master))

    drained = user.ask(DRAIN, Origin=master.ui.rstrip("/"), Sec_Fetch_Site="same-origin")
    assert is_drained(master)
    undrained = user.ask(UNDRAIN)
    ended = user.ask({"command": "end", "name": "latent-libvirt-1@beta"})

    assert (drained, undrained) == ((200, {"done": "host alpha"}),) * 2
    assert not is_drained(master)
    assert ended[0] == 403
    lines = wait_for(
        "their lines", lambda: found if len(found := audit(master)[before:]) == 3 else 0
    )
    assert [line["outcome"] for line in lines] == ["done", "done", "refused"]
    assert {line["user"] for line in lines} == {"ops"}
    assert (master.directory / "vms-audit.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_a_page_of_another_site_can_do_nothing_for_a_user_who_may(
    master: SimulatedMaster, headers: dict[str, Any], code: int
) -> None:
    assert User(master, "admin").ask(DRAIN, **headers)[0] == code

    assert not is_drained(master)


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (b"{", 400, "needs a pool"),
        (b"[]", 400, "needs a pool"),
        (b"[" * 4000, 400, "needs a pool"),
        (b'{"pool": 1, "request": {"command": "drain", "name": "alpha"}}', 400, "has to be a text"),
        (b'{"pool": "1/latent_libvirt", "request": {"command": "sweep"}}', 400, "cannot ask"),
        (b'{"pool": "1/latent_libvirt", "request": {"command": "drain"}}', 400, "understood"),
        (b'{"pool": "9/x", "request": {"command": "drain", "name": "alpha"}}', 404, "no pool 9/x"),
        (b'{"pool": "1/latent_libvirt", "request": {"command": "drain", "name": "b"}}', 409, "no"),
        (b" " * 5000, 413, "4096"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(
    master: SimulatedMaster, body: bytes, code: int, says: str
) -> None:
    answer = User(master, "admin").ask(None, body=body)

    assert answer[0] == code
    assert says in answer[1]["error"]


# In a browser.


def test_an_operator_drains_holds_releases_and_ends_by_buttons(master: SimulatedMaster) -> None:
    with Browser(f"{master.ui}#/vms") as browser:
        logged_in(master, browser, "admin")
        browser.click("Drain host alpha")
        browser.wait_for_text("Start no new VM on host alpha?")
        assert not is_drained(master)
        browser.click("Drain host alpha")
        browser.wait_for_text("host alpha is drained: no new VM starts.")
        browser.click("Undrain host alpha")
        see_a_message_that_can_be_closed(browser, "host alpha is in use again.")
        assert not is_drained(master)

        browser.click("Refresh pool latent_libvirt")
        browser.wait_for_text("Looked at 2 hosts.")

        first = next_number(master)
        request = master.force("check")
        vm = wait_for("a VM", lambda: building(master, number=first))
        worker = vm["worker"]
        see_focus_at_a_question(browser, f"End {worker}")
        browser.click(f"End {worker}")
        browser.wait_for_text(f"Delete {called(vm)} now? What its build check #")
        browser.click(f"End {worker}")
        browser.wait_for_text("is gone.")
        again = wait_for("another VM", lambda: building(master, number=first + 1))
        assert master.results(request) == ["RETRY", None]
        wait_for("it to be shown apart", lambda: rows(browser, "Ended by operators"))
        assert "an operator has ended it" in rows(browser, "Ended by operators")[0][-1]
        see_that_it_is_no_failure(browser, master)

        see_a_hold_lost(browser, master, again)
        again = wait_for("a third VM", lambda: building(master, number=first + 2))
        assert master.pool()["labels"]["small"]["launch_attempts"] == 2, "operators do not count"

        browser.click(f"Hold {again['worker']}")
        browser.wait_for_text(f"Hold {called(again)} when its build has ended?")
        browser.click(f"Hold {again['worker']}")
        browser.wait_for_text("will be held for 2h when its job has ended.")
        see_a_hold_taken_back(browser, master, again)
        browser.click(f"Hold {again['worker']}")
        browser.wait_for_text(f"Hold {called(again)} when its build has ended?")
        browser.click(f"Hold {again['worker']}")
        browser.wait_for_text("will be held for 2h 00m, asked for by admin")
        master.let_go()
        see_what_needs_a_person(browser, "1 VM is held", "Held VMs")
        kept = f"{again['worker']}, id {again['vm_id']}"
        terminal = f"document.querySelector('a[aria-label=\"Terminal of {kept}\"]')"
        assert browser.evaluate(f"!!{terminal}")
        see_it_held_longer(browser, master, kept)
        browser.click(f"Release {kept}")
        browser.wait_for_text(f"Delete {called(again)}, id {again['vm_id']}? What is on its disk")
        browser.click(f"Release {kept}")
        wait_for("the VM to be gone", lambda: not status(master)["held"])
        see_that_it_is_gone(browser, again)
        assert browser.errors == []


BROKEN = """[...document.querySelectorAll(".ll-act")].filter((button) =>
    button.offsetHeight > 1.8 * parseFloat(getComputedStyle(button).lineHeight)
    || button.getBoundingClientRect().right > innerWidth).map((button) => button.textContent)"""

GAP = """(() => {
  const cell = [...document.querySelectorAll(".ll-table td")].find((td) => td.innerText.trim());
  const [name, text] = [cell.dataset.column, document.createRange()];
  cell.dataset.column = "Memory in use";
  text.selectNodeContents(cell);
  const before = parseFloat(getComputedStyle(cell, "::before").width);
  const gap = text.getClientRects()[0].left - cell.getBoundingClientRect().left - before;
  cell.dataset.column = name;
  return gap;
})()"""
"""Pixels between the name of a column and the value beside it."""


def see_it_on_a_phone(browser: Browser) -> None:
    """See that buttons keep their words, also beside Buildbot's menu, and values a gap."""
    browser.resize(390, 800)
    assert browser.evaluate(GAP) >= 4
    assert browser.evaluate(BROKEN) == []
    menu = "document.querySelector('.gl-page-with-sidebar').classList"
    browser.evaluate(f"{menu}.add('pinned')")
    width = "document.querySelector('.ll-page').clientWidth"
    wait_for("the menu to be there", lambda: browser.evaluate(width) < 300)
    assert browser.evaluate(BROKEN) == []
    browser.evaluate(f"{menu}.remove('pinned')")
    browser.call("Emulation.clearDeviceMetricsOverride")


def see_a_message_that_can_be_closed(browser: Browser, text: str) -> None:
    """See what came of an action, until its button is clicked."""
    browser.wait_for_text(text)
    browser.act("document.querySelector('[role=status] .alert button')", "click()")
    wait_for("no message", lambda: text not in browser.text)


def see_that_it_is_no_failure(browser: Browser, master: SimulatedMaster) -> None:
    """See that the VM that an operator has ended is not among those that have failed."""
    shown = [row[-1] for row in rows(browser, "Last failures")]
    assert not any("an operator" in reason for reason in shown)
    noted = [row["is_ended_by_operator"] for row in status(master)["failures"]]
    assert (noted[0], noted.count(False)) == (True, len(shown))
    counts = browser.evaluate("document.querySelector('.ll-needs')?.textContent ?? ''")
    assert ("failed" in counts) == bool(shown)


def see_a_hold_lost(browser: Browser, master: SimulatedMaster, vm: dict[str, Any]) -> None:
    """See that a VM that is ended before it was held says so, on the page and in the audit log."""
    told(master, "hold", vm["worker"])
    assert told(master, "end", vm["worker"]).endswith("is gone.\n")
    user = getpass.getuser()
    browser.wait_for_text(f"an operator has ended it; the hold that {user} has asked for is lost")
    (line,) = wait_for("its line", lambda: _lost(master))
    assert (line["user"], line["name"], line["command"]) == (user, vm["vm_id"], "hold")


def _lost(master: SimulatedMaster) -> list[dict[str, Any]]:
    return [line for line in audit(master) if line["outcome"] == "lost"]


def see_a_hold_taken_back(browser: Browser, master: SimulatedMaster, vm: dict[str, Any]) -> None:
    """See a hold at the VM, on the page and in a terminal, until a button takes it back."""
    hold = "will be held for 2h 00m, asked for by admin"
    browser.wait_for_text(hold)
    focused = "document.activeElement.ariaLabel"
    wait_for("the focus", lambda: browser.evaluate(focused) == f"Do not hold {vm['worker']}")
    assert hold in told(master, "status")
    assert accessibility(browser) == []
    see_it_on_a_phone(browser)
    browser.click(f"Do not hold {vm['worker']}")
    browser.wait_for_text(f"Take back that {called(vm)} {hold}?")
    assert hold_of(master, vm) == 7200
    browser.click(f"Do not hold {vm['worker']}")
    browser.wait_for_text("will not be held when its job has ended.")
    wait_for("no hold", lambda: hold not in browser.text)
    assert hold_of(master, vm) is None
    (line,) = wait_for("its line", lambda: holds_taken_back(master))
    assert (line["user"], line["name"], line["outcome"]) == ("admin", vm["vm_id"], "done")


def see_it_held_longer(browser: Browser, master: SimulatedMaster, kept: str) -> None:
    """Let a VM that is held for two hours be held for the shortest longer time that is offered."""
    browser.click(f"Hold longer {kept}")
    browser.wait_for_text(", from now on for")
    choice = f"document.querySelector('select[aria-label=\"How long to hold {kept}\"]')"
    offered = browser.evaluate(f"[...{choice}.options].map((each) => each.text)")
    assert offered[-4:] == ["8 h", "1 day", "7 days", "30 days"]
    first = len(offered) - 4
    browser.evaluate(
        f"{choice}.selectedIndex = {first}; "
        f"{choice}.dispatchEvent(new Event('change', {{ bubbles: true }}))"
    )
    browser.click(f"Hold longer {kept}")
    browser.wait_for_text(" is held for 8h, until ")
    assert status(master)["held"][0]["seconds_left"] > 7 * 3600


def holds_taken_back(master: SimulatedMaster) -> list[dict[str, Any]]:
    """Return the lines of the audit log about holds that were taken back."""
    return [line for line in audit(master) if line.get("command") == "cancel_hold"]


def hold_of(master: SimulatedMaster, vm: dict[str, Any]) -> float | None:
    """Return for how many seconds a VM that builds will be held, if it will."""
    (found,) = (each for each in status(master)["leases"] if each["vm_id"] == vm["vm_id"])
    seconds: float | None = found["hold_for"]
    return seconds


def called(vm: dict[str, Any]) -> str:
    """Return what the page calls a VM in its questions."""
    return f"VM {vm['domain']}@{vm['host']} (worker {vm['worker']})"


def see_what_needs_a_person(browser: Browser, count: str, caption: str) -> None:
    """See a count at the top of the page, which leads to a table with its buttons in a column."""
    counts = "[...document.querySelectorAll('.ll-needs button')]"
    count_of = f"{counts}.find((each) => each.textContent === {count!r})"
    browser.act(count_of, "click()")
    focused = "document.activeElement.caption?.textContent"
    wait_for("the table", lambda: browser.evaluate(focused) == caption)
    heads = "[...document.activeElement.tHead.rows[0].cells].map((cell) => cell.textContent)"
    assert browser.evaluate(heads)[-2:] == ["Build", "Actions"]
    assert accessibility(browser) == []


def see_that_it_is_gone(browser: Browser, vm: dict[str, Any]) -> None:
    """See that links to a VM that was held say what became of it, and lead to its build."""
    said = "document.querySelector('.ll-no-vm')?.textContent ?? ''"
    begins = f"VM {vm['vm_id']} of label small on slot "
    for link in (f"?vm={vm['worker']}", f"#vm-{vm['vm_id']}"):
        browser.go_to(f"#/vms{link}")
        wait_for("its end", lambda: browser.evaluate(said).startswith(begins))
        assert "ago, at " in browser.evaluate(said)
        assert "after it was held for " in browser.evaluate(said)
        address = "document.querySelector('.ll-no-vm a').getAttribute('href')"
        assert browser.evaluate(address).startswith("#/builders/")
        browser.go_to("#/vms?vm=nobody")
        wait_for("nobody", lambda: "that is called nobody." in browser.evaluate(said))
    browser.go_to("#/vms")
    wait_for("nothing", lambda: not browser.evaluate(said))


def see_focus_at_a_question(browser: Browser, name: str) -> None:
    """See that a question that a key opens and another one cancels does not lose the focus."""
    focused = "[document.activeElement.role, document.activeElement.ariaLabel].join(' ')"
    browser.focus(name)
    browser.type("\r")
    wait_for("the question", lambda: browser.evaluate(focused) == f"group {name}")
    cancel = f"Cancel {name.partition(' ')[2]}"
    browser.focus(cancel)
    browser.type("\r")
    wait_for("the button", lambda: browser.evaluate(focused).endswith(f" {name}"))
    assert cancel not in browser.buttons


def test_who_may_do_nothing_sees_no_button(master: SimulatedMaster) -> None:
    with Browser(f"{master.ui}#/vms") as browser:
        logged_in(master, browser, "ops")
        wait_for("buttons", lambda: browser.buttons)
        assert {name.split()[0] for name in browser.buttons} == {"Drain"}

        logged_in(master, browser, "dev")
        wait_for("the rights", lambda: any("rights" in url for url in browser.answers))
        assert browser.buttons == []
