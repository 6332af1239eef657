# SPDX-License-Identifier: GPL-2.0-only
"""A job's page in a real browser."""

from __future__ import annotations

from browser import Browser
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
