# SPDX-License-Identifier: GPL-2.0-only
"""What the page of VMs costs with 1,000 VMs, 2,000 waiting requests and 20 open pages.

One page is open in Chromium, the others in ``page_clients.py``. The pool is on paper, and ten of
its VMs change a second. The last line is JSON.

    make bench-page
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from browser import Browser
from buildmaster import BuildMaster, wait_for

HERE = Path(__file__).parent
LIMITS = {"first_content_s": 1.0, "event_s": 1.0, "master_core_percent": 5.0, "browser_mb": 200.0}
CHANGES = 5
"""VMs that change in half a second."""

ALL = "Show all {} of VMs with a worker"
"""The name of the button that a long table has when the page knows all VMs."""


def main() -> None:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vms", type=int, default=1_000, help="more than 100")
    parser.add_argument("--waiting", type=int, default=2_000)
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    support = HERE.parent / "tests" / "support"
    numbers = f"import sys\nsys.path.insert(0, {str(support)!r})\n"
    numbers += f"VMS, WAITING, CHANGES = {options.vms}, {options.waiting}, {CHANGES}\n"
    with tempfile.TemporaryDirectory(prefix="page-") as directory:
        configuration = numbers + (HERE / "page_master.cfg").read_text()
        master = BuildMaster(Path(directory) / "master", configuration)
        master.start()
        try:
            figures = measured(master, options)
        finally:
            master.stop()
    figures["too_much"] = [name for name, most in LIMITS.items() if figures[name] > most]
    print(json.dumps(figures))


def measured(master: BuildMaster, options: argparse.Namespace) -> dict[str, object]:
    """Return the figures."""
    site = f"http://127.0.0.1:{master.web_port}/"
    idle = core_percent(master.pid, options.seconds / 4)
    with Browser(site) as browser:
        first = first_content(browser, f"{site}#/vms", options.vms)
        clients = [sys.executable, HERE / "page_clients.py", site, str(options.pages - 1)]
        with subprocess.Popen(clients) as others:
            try:
                time.sleep(5)  # until all pages have what there is
                busy = core_percent(master.pid, options.seconds)
                event = time_of_event(browser, master)
            finally:
                others.kill()
        heap = browser.evaluate("performance.memory.usedJSHeapSize") / 1e6
        return {
            "vms": options.vms,
            "waiting": options.waiting,
            "pages": options.pages,
            "load": os.getloadavg()[0],
            "first_content_s": first,
            "event_s": event,
            "master_idle_percent": idle,
            "master_core_percent": busy,
            "browser_mb": round(renderer_mb(browser), 1),
            "heap_mb": round(heap, 1),
        }


def first_content(browser: Browser, url: str, vms: int) -> float:
    """Return the seconds until a page that was loaded before knows all VMs, and shows the first."""
    browser.open("about:blank")
    began = time.monotonic()
    browser.call("Page.navigate", url=url)
    wait_for("all VMs", lambda: ALL.format(vms) in browser.buttons)
    return round(time.monotonic() - began, 2)


def time_of_event(browser: Browser, master: BuildMaster) -> float:
    """Return the seconds until what happens to a VM is on the page, at most of three."""
    return max(_time_of_event(browser, master, f"it has failed {n} times") for n in range(3))


def _time_of_event(browser: Browser, master: BuildMaster, text: str) -> float:
    began = time.monotonic()
    (master.directory / "mark").write_text(text)
    wait_for("the event", lambda: text in browser.evaluate("document.body.textContent"))
    return round(time.monotonic() - began, 2)


def core_percent(pid: int, seconds: float) -> float:
    """Return the share of a core that a process takes."""
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return round((cpu_seconds(pid) - before) / seconds * 100, 1)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def renderer_mb(browser: Browser) -> float:
    """Return the private memory of the browser's largest process for pages, in MB."""
    renderers = (
        process
        for process in browser.processes()
        if "--type=renderer" in Path(f"/proc/{process}/cmdline").read_text()
    )
    return max(private_kib(process) for process in renderers) * 1024 / 1e6


def private_kib(pid: int) -> int:
    """Return the memory that a process has written to and does not share, in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))


if __name__ == "__main__":
    main()
