# SPDX-License-Identifier: GPL-2.0-only
"""A job's page, and Buildbot's pages of a master that serves jobs, in a real browser."""

from __future__ import annotations

import pytest

from browser import Browser
from buildmaster import wait_for
from job_masters import JobMaster, ask


def test_it_follows_its_job_by_itself(master: JobMaster) -> None:
    job = master.post(builder="slow").document

    with Browser(job["url"]) as browser:
        browser.wait_for_title("running: slow")
        master.let_go()
        browser.wait_for_title("success: slow")


def test_it_has_links_and_no_script(master: JobMaster) -> None:
    job = master.post(builder="check", reason="<script>alert(1)</script>").document
    master.finished(job["uuid"])

    page = ask("GET", job["url"], headers={"Accept": "text/html"})

    text = page.body.decode()
    assert page.kind == "text/html"
    assert page.head["Content-Security-Policy"].startswith("default-src 'none'")
    assert f'href="{job["url"]}/log"' in text
    assert "&lt;script&gt;" in text
    assert "<script" not in text


def test_buildbots_own_pages_load_all_that_they_want_of_the_plugin(master: JobMaster) -> None:
    ui = f"http://127.0.0.1:{master.web_port}/"
    wanted = {f"{ui}plugins/jobs/{name}": 200 for name in ("scripts.js", "styles.css")}

    with Browser(ui) as browser:
        for page, shows in (("", "Welcome"), ("#/builders", "slow"), ("#/workers", "scheduler-2")):
            browser.open("about:blank")  # else another fragment loads nothing
            browser.open(ui + page)
            browser.wait_for_text(shows)
            wait_for("the files", lambda: browser.errors or wanted.keys() <= browser.answers.keys())
            assert browser.errors == []
            assert wanted.items() <= browser.answers.items()


def test_no_page_of_jobs_has_an_error_in_its_console(master: JobMaster) -> None:
    job = master.post(builder="check").document
    master.finished(job["uuid"])

    with Browser(job["url"]) as browser:
        browser.wait_for_title("success: check")
        assert (browser.answers[job["url"]], browser.errors) == (200, [])
        for url in (master.jobs_url, f"{master.jobs_url}/openapi.json"):
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
    master: JobMaster, path: str, status: int, says: str
) -> None:
    url = master.jobs_url + path

    with Browser(url) as browser:
        browser.wait_for_text(says)
        assert browser.answers[url] == status
        # That much a browser says of every document with such a status.
        assert [error for error in browser.errors if f"({url})" not in error] == []
