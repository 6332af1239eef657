# SPDX-License-Identifier: GPL-2.0-only
"""The pages of jobs in Buildbot's UI, of a master that serves jobs, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Browser
from buildmaster import wait_for
from job_masters import JobMaster, ask
from ui import accessibility, rows

HTML = {"Accept": "text/html"}

HOSTILE = "<img src=x onerror=alert(1)>"

LIST = "The newest first"

ALL_JOBS = "[...document.querySelectorAll('form button')].find((b) => b.textContent === 'All jobs')"

MASTER = "[...document.querySelectorAll('dt')].find((dt) => dt.textContent === 'Master')"
MASTER += ".nextSibling.textContent"

BADGE = "document.querySelector('h1 .ll-state')?.textContent"


@pytest.fixture(scope="module")
def browser(shared_master: JobMaster) -> Iterator[Browser]:
    """Give a browser with the list of jobs open."""
    with Browser(shared_master.jobs_url) as browser:
        yield browser


def test_it_follows_its_job_and_shows_the_last_lines_of_its_log_as_they_come(
    master: JobMaster, browser: Browser
) -> None:
    job = master.post(builder="slow", reason=HOSTILE, properties={"word": HOSTILE}).document

    browser.open(job["url"])
    wait_for("it to run", lambda: browser.evaluate(BADGE) == "running")
    browser.wait_for_text("begun")
    browser.wait_for_text("slow #")
    shown_as = browser.evaluate(MASTER)
    assert shown_as.startswith(f"{master.directory.name} on ")
    assert "/" not in shown_as
    assert "told" not in browser.text
    assert browser.text.count(HOSTILE) >= 1
    assert browser.evaluate("document.querySelectorAll('.ll-page img').length") == 0
    master.let_go()

    browser.wait_for_text("told")
    wait_for("its end", lambda: browser.evaluate(BADGE) == "success")
    lines = "[...document.querySelectorAll('.ll-slot-line')].map((line) => line.ariaLabel)"
    (line,) = browser.evaluate(lines)
    assert line.startswith("Attempt 1: prepare ")
    assert "build " in line
    for size in ((1280, 900), (390, 800)):
        browser.resize(*size)
        assert accessibility(browser) == []
        assert browser.evaluate("document.querySelector('.ll-page').scrollWidth") <= size[0]
    browser.call("Emulation.clearDeviceMetricsOverride")
    assert browser.errors == []


def test_the_phase_that_a_vm_is_in_goes_on_until_now(master: JobMaster, browser: Browser) -> None:
    attempt = {"started_at": "1970-01-01T00:00:10Z", "phases": {"clone": 2.5, "boot": 0}}
    parts = "import('./plugins/jobs/attempts.js').then((it) => it.partsOf({}, 250))"

    found = browser.promised(parts.format(json.dumps(attempt)))

    assert [(each["phase"], each["from"], each["seconds"]) for each in found] == [
        ("clone", 10, 2.5),
        ("boot", 12.5, 237.5),
    ]
    words = "import('./plugins/jobs/ui/words.js')"
    shown = "[0, 0.26, 9.9, 12.5, 237.5].map(it.phaseDuration)"
    durations = browser.promised(f"{words}.then((it) => {shown})")
    assert durations == ["0 s", "0.3 s", "9.9 s", "12 s", "3m 57s"]
    has_failed = attempt | {"phases": {"clone": 2, "boot": 0.5}}
    found = browser.promised(parts.format(json.dumps(has_failed)))
    assert [each["seconds"] for each in found] == [2, 0.5]
    is_up = attempt | {"ready_at": "1970-01-01T00:02:00Z", "phases": {"clone": 2, "boot": 53}}
    found = browser.promised(parts.format(json.dumps(is_up)))
    assert [(each["phase"], each["from"], each["width"]) for each in found] == [
        ("clone", 10, 4),
        ("boot", 14, 106),
        ("build", 120, 130),
    ]


def test_the_list_is_live_and_can_be_searched(master: JobMaster, browser: Browser) -> None:
    old = master.post(builder="check", properties={"word": "old"}).document
    master.finished(old["uuid"])
    browser.open("about:blank")
    browser.open(f"{master.jobs_url}?property=word%3Dnew")
    browser.wait_for_text("No job.")
    menu = "document.querySelector('a[href=\"#/jobs\"]')?.textContent ?? ''"
    assert "Jobs" in browser.evaluate(menu)

    new = master.post(builder="slow", properties={"word": "new"}).document

    name = f"slow {new['uuid'][:8]}"
    wait_for("it to run", lambda: [row[:2] for row in rows(browser, LIST)] == [[name, "running"]])
    assert accessibility(browser) == []
    master.let_go()
    wait_for("its end", lambda: [row[:2] for row in rows(browser, LIST)] == [[name, "success"]])
    browser.act(ALL_JOBS, "click()")
    both = [name, f"check {old['uuid'][:8]}"]
    wait_for("both", lambda: [row[0] for row in rows(browser, LIST)][:2] == both)
    assert browser.errors == []


def test_only_browsers_are_led_to_buildbots_ui(master: JobMaster) -> None:
    job = master.post(builder="check").document
    master.finished(job["uuid"])
    ui = f"http://127.0.0.1:{master.web_port}/#"

    for url, leads_to in (
        (f"{master.jobs_url}?state=finished", f"{ui}/jobs?state=finished"),
        (job["url"], f"{ui}/jobs/{job['uuid']}"),
    ):
        for_people, for_programs = ask("GET", url, headers=HTML), ask("GET", url)
        assert (for_people.status, for_people.head["Location"]) == (303, leads_to)
        assert (for_programs.status, for_programs.kind) == (200, "application/json")
        assert for_people.head["Vary"] == for_programs.head["Vary"] == "Accept"


def test_buildbots_own_pages_load_all_that_they_want_of_the_plugin(
    master: JobMaster, browser: Browser
) -> None:
    ui = f"http://127.0.0.1:{master.web_port}/"
    wanted = {f"{ui}plugins/jobs/{name}": 200 for name in ("scripts.js", "styles.css", "page.js")}

    for page, shows in (("", "Welcome"), ("#/builders", "slow"), ("#/workers", "scheduler-2")):
        browser.open("about:blank")  # else another fragment loads nothing
        browser.open(ui + page)
        browser.wait_for_text(shows)
        wait_for("the files", lambda: browser.errors or wanted.keys() <= browser.answers.keys())
        assert browser.errors == []
        assert wanted.items() <= browser.answers.items()
    again = ask("GET", f"{ui}plugins/jobs/ui/words.js")
    assert (again.status, again.head["Cache-Control"]) == (200, "no-cache")


def test_no_page_of_jobs_has_an_error_in_its_console(master: JobMaster, browser: Browser) -> None:
    url = f"{master.jobs_url}/openapi.json"
    browser.open(url)
    assert (browser.answers[url], browser.errors) == (200, [])
    icon = ask("GET", f"http://127.0.0.1:{master.web_port}/favicon.ico")
    assert (icon.status, icon.head["Location"]) == (302, "icon.png"), "browsers ask for it"


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("?builder=%00", 400, "the query is no UTF-8, or has a NUL"),
        ("/%ff", 400, "the path is no UTF-8, or has a NUL"),
        ("/nobody", 404, "there is no job nobody"),
        ("/nobody/x/y", 404, "there is nothing at this address"),
        ("?limit=x", 400, "limit"),
    ],
)
def test_a_browser_that_asks_for_nonsense_shows_what_is_wrong_with_it(
    master: JobMaster, browser: Browser, path: str, status: int, says: str
) -> None:
    url = master.jobs_url + path

    browser.open(url)
    browser.wait_for_text(says)
    assert browser.answers[url] == status
    # That much a browser says of every document with such a status.
    assert [error for error in browser.errors if f"({url})" not in error] == []


FOR_OPERATORS = """
c["www"]["authz"] = util.Authz(
    allowRules=[util.AnyEndpointMatcher(role="operators")], roleMatchers=[]
)
"""


CONNECTIONS = """
new Promise((counted) => {
  const Connection = window.WebSocket;
  let count = 0;
  window.WebSocket = function(...asked) { count += 1; return new Connection(...asked); };
  setTimeout(() => counted(count), 3000);
})
"""
"""How many a page begins that would begin the next one after a second, and after two."""


class Guarded(JobMaster):
    """A master whose REST API, by which others are asked whether they serve, is for operators."""

    def serves(self) -> bool:
        """Whether it serves jobs yet."""
        try:
            return ask("GET", self.jobs_url).status == 200
        except OSError:
            return False


def test_who_may_not_hear_of_changes_or_read_logs_is_asked_to_log_in(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path / "guarded", more=FOR_OPERATORS)
    guarded.start()
    try:
        job = guarded.post(builder="check").document
        guarded.finished(job["uuid"])
        with Browser(job["url"]) as browser:
            browser.wait_for_text("You may not hear of changes")
            assert "connection to the master is lost" not in browser.text
            assert browser.promised(CONNECTIONS) == 0
            browser.wait_for_text(": You may not see this. Log in as somebody who may.")
            assert "0 lines" not in browser.text
    finally:
        guarded.stop()
