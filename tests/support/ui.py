# SPDX-License-Identifier: GPL-2.0-only
"""What our pages in Buildbot's UI show, as a test reads it in a browser."""

from __future__ import annotations

from axe_core_python.base import AXE_SCRIPT

from browser import Browser


def rows(browser: Browser, caption: str) -> list[list[str]]:
    """Return the texts of the rows of the table with that caption."""
    script = f"""[...document.querySelectorAll(".ll-table")]
        .filter((table) => table.caption.textContent === {caption!r})
        .flatMap((table) => [...table.tBodies[0].rows])
        .map((row) => [...row.cells].map((cell) => cell.textContent.trim()))"""
    return list(browser.evaluate(script) or [])


def accessibility(browser: Browser) -> list[tuple[str, str]]:
    """Return what axe-core finds that is serious, with the element."""
    browser.evaluate(AXE_SCRIPT)
    found = browser.promised("axe.run('.ll-page')")
    assert len(found["passes"]) > 10, "it has looked"
    return [
        (rule["id"], node["html"])
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def terminal_text(browser: Browser) -> str:
    """Return the text on the terminal's screen, without the blanks at its end."""
    rows = "[...document.querySelectorAll('.xterm-rows > div')].map((row) => row.textContent)"
    return str(browser.evaluate(f"{rows}.join('').replaceAll('\\u00a0', ' ').trimEnd() + ' '"))
