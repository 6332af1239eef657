# SPDX-License-Identifier: GPL-2.0-only
"""The page "VMs" with more rows than it shows, in a real browser, of a real master.

The pool is the one of ``make bench-page``, on paper: no machine of the tests has 250 VMs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Browser
from buildmaster import BuildMaster, wait_for
from ui import accessibility, rows

ROOT = Path(__file__).parents[4]
VMS, WAITING, FIRST = 250, 300, 100

TABLE = "VMs with a worker"
MORE, ALL = f"Show {FIRST} more of {TABLE}", f"Show all {VMS} of {TABLE}"

WATCH = """
window.painted = new Set();
(function look() {
    window.painted.add(document.querySelector('[role=search] [aria-live]').textContent);
    requestAnimationFrame(look);
})();
"""
"""Notes what each frame says of the rows that match."""

CHANNEL = """
def status(self, status=BigPool.status):
    found = status(self)
    first, *others = found.leases
    first = replace(first, connection="channel", requests=9, refused=2)
    return replace(found, leases=(first, *others))

BigPool.status = status
"""
"""Lets the first VM have no network, and fetch through its master."""

FOCUS = "[...{table}.tBodies[0].rows].indexOf(document.activeElement)"


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildMaster]:
    """Give a master with a large pool, some VMs of which change twice a second."""
    numbers = f"import sys\nsys.path.insert(0, {str(ROOT / 'tests' / 'support')!r})\n"
    numbers += f"VMS, WAITING, CHANGES = {VMS}, {WAITING}, 5\n"
    configuration = numbers + (ROOT / "bench" / "page_master.cfg").read_text() + CHANNEL
    master = BuildMaster(tmp_path_factory.mktemp("long") / "master", configuration)
    master.start()
    yield master
    master.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Give a browser."""
    with Browser("about:blank") as browser:
        yield browser


@pytest.fixture
def browser(master: BuildMaster, chromium: Browser) -> Iterator[Browser]:
    """Give a browser with the page open, as it is at first."""
    chromium.open("about:blank")
    chromium.open(f"http://127.0.0.1:{master.web_port}/#/vms")
    wait_for("all VMs", lambda: ALL in chromium.buttons)
    waiting = f"{FIRST} of {WAITING} rows are shown."
    wait_for("all requests", lambda: description(chromium, "Waiting requests") == waiting)
    yield chromium
    assert chromium.errors == []
    chromium.call("Emulation.clearDeviceMetricsOverride")


def table(caption: str = TABLE) -> str:
    """Return the expression of a table in the page."""
    tables = "[...document.querySelectorAll('.ll-table')]"
    return f"{tables}.find((table) => table.caption.textContent === {caption!r})"


def description(browser: Browser, caption: str = TABLE) -> str:
    """Return what a screen reader says of a table."""
    of = f"document.getElementById({table(caption)}?.getAttribute('aria-describedby'))"
    return str(browser.evaluate(f"{of}?.textContent ?? ''"))


def announcement(browser: Browser) -> str:
    """Return what a screen reader has said last of what the user did to the table of VMs."""
    before = f"{table()}?.previousElementSibling"
    return str(browser.evaluate(f"{before}?.querySelector('[aria-live]')?.textContent ?? ''"))


def workers(browser: Browser) -> list[str]:
    """Return the workers of the VMs that are shown."""
    return [row[0] for row in rows(browser, TABLE)]


def test_a_long_table_has_its_first_rows_says_how_many_there_are_and_a_short_one_has_all(
    browser: Browser,
) -> None:
    assert workers(browser) == [f"w-{n}" for n in range(FIRST)]
    assert len(rows(browser, "Waiting requests")) == FIRST
    assert description(browser) == f"{FIRST} of {VMS} rows are shown."
    assert len(rows(browser, "Hosts")) == 50
    assert [description(browser, short) for short in ("Hosts", "Labels")] == ["", ""]
    first, second, *_ = rows(browser, TABLE)
    assert (first[4:6], second[4:6]) == (["channel", "7 of 9"], ["", ""])
    browser.resize(390, 800)  # a phone; another test looks at a wide window
    assert accessibility(browser) == []
    assert browser.evaluate("document.querySelector('.ll-page').scrollWidth") <= 390


def test_all_rows_can_be_shown_by_keyboard_and_reading_goes_on_at_the_first_new_one(
    browser: Browser,
) -> None:
    browser.focus(MORE)
    browser.type("\r")
    wait_for("more rows", lambda: len(workers(browser)) == 2 * FIRST)
    at = FOCUS.format(table=table())
    wait_for("the focus", lambda: browser.evaluate(at) == FIRST)
    assert announcement(browser) == f"{2 * FIRST} of {VMS} rows are shown."
    assert MORE not in browser.buttons

    browser.focus(ALL)
    browser.type("\r")
    wait_for("all rows", lambda: len(workers(browser)) == VMS)

    wait_for("the focus", lambda: browser.evaluate(at) == 2 * FIRST)
    assert workers(browser) == [f"w-{n}" for n in range(VMS)]
    assert ALL not in browser.buttons


def test_a_filter_finds_rows_that_are_not_shown_by_all_their_texts(browser: Browser) -> None:
    browser.focus(f"Filter {TABLE}")
    browser.type("W-24")
    found = ["w-24", *(f"w-{n}" for n in range(240, VMS))]
    wait_for("the VMs", lambda: workers(browser) == found)
    assert description(browser) == f"{len(found)} of {VMS} rows match."
    assert announcement(browser) == description(browser)

    browser.type(" check-249")
    wait_for("the VM of a build", lambda: workers(browser) == ["w-249"])
    browser.type("x")
    wait_for("no VM", lambda: workers(browser) == [])
    assert accessibility(browser) == []

    browser.focus("Filter Waiting requests")
    browser.type("slot check-")
    counted = f"{WAITING} of {WAITING} rows match. {FIRST} of them are shown."
    wait_for("requests", lambda: description(browser, "Waiting requests") == counted)
    browser.type("7")
    builders = {"check-7", *(f"check-7{n}" for n in range(10))}
    wait_for("fewer", lambda: {row[1] for row in rows(browser, "Waiting requests")} == builders)


def test_find_looks_through_all_rows_of_all_tables_and_leaves_those_that_match(
    browser: Browser,
) -> None:
    captions = "[...document.querySelectorAll('.ll-table caption')].map((each) => each.textContent)"
    before = browser.evaluate(captions)
    browser.focus("Find in all tables")
    browser.evaluate(WATCH)
    browser.type("check-24")
    builders = {"check-24", *(f"check-{n}" for n in range(240, VMS))}
    wait_for("the VMs", lambda: len(workers(browser)) == len(builders))
    assert browser.evaluate(captions) == ["Waiting requests", TABLE]
    requests = len(rows(browser, "Waiting requests"))
    assert {row[1] for row in rows(browser, "Waiting requests")} <= builders
    counted = f"{len(builders) + requests} rows match."
    wait_for("the sum", lambda: counted in browser.text)
    assert "0 rows match." not in browser.evaluate("[...window.painted]")
    assert accessibility(browser) == []

    browser.type("9")
    wait_for("one VM", lambda: workers(browser) == ["w-249"])
    browser.go_to("#/vms?vm=w-200")
    wait_for("all tables", lambda: browser.evaluate(captions) == before)
    assert "w-200" in workers(browser)


@pytest.mark.parametrize("name", ["w-200", f"{200:08x}"])
def test_a_link_leads_to_any_row_also_to_one_that_a_filter_hides(
    browser: Browser, name: str
) -> None:
    browser.focus(f"Filter {TABLE}")
    browser.type("w-24")
    wait_for("the VMs", lambda: len(workers(browser)) == 11)

    browser.go_to(f"#/vms?vm={name}")

    marked = "[...document.querySelectorAll('.ll-marked')]"
    texts = f"{marked}.map((row) => row.cells[0].textContent)"
    wait_for("the VM to be marked", lambda: browser.evaluate(texts) == ["w-200"])
    place = f"{marked}[0].getBoundingClientRect().top / window.innerHeight"
    wait_for("the VM to be in sight", lambda: 0 <= browser.evaluate(place) < 1)
    assert workers(browser) == [*(f"w-{n}" for n in range(FIRST)), "w-200"]
    assert description(browser) == f"{FIRST + 1} of {VMS} rows are shown."


def test_small_news_are_on_the_page_without_a_request(
    master: BuildMaster, browser: Browser
) -> None:
    numbers = itertools.count()

    def has_not_asked() -> bool:
        """Whether an event was shown without a request; a slow machine may need one."""
        before, text = asked(), f"it has failed {next(numbers)} times"
        (master.directory / "mark").write_text(text)
        wait_for("the event", lambda: text in browser.text)
        return asked() == before

    def asked() -> int:
        return sum("/pools?" in url for url in browser.answers)

    assert asked() > 0
    wait_for("an event that nobody had to ask for", has_not_asked)
