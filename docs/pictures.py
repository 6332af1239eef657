# SPDX-License-Identifier: GPL-2.0-only
"""Makes the pictures of the page of VMs in the documentation, from a real master.

The VMs are simulated, as in the tests of the page. The pictures are taken in Chromium, in a wide
window and on a phone. Buildbot 4.3 has no dark mode.

    make docs              # for the site; the tracked ones stay
    make docs-pictures     # renews the tracked ones
"""

from __future__ import annotations

import argparse
import base64
import tempfile
from pathlib import Path

from browser import Browser
from buildmaster import wait_for
from simulated_master import SimulatedMaster

TRACKED = Path(__file__).parent / "how-to" / "images"

OPEN = """
class Anybody:
    def setAuthz(self, authz):
        pass
    def getRolesFromUser(self, user):
        return ["anybody"]

c["title"] = "Example"
c["www"]["authz"] = util.Authz(
    allowRules=[util.PoolEndpointMatcher(role="anybody")], roleMatchers=[Anybody()]
)
c["services"].append(util.JobApi(tokens="tokens.json"))
c["www"]["plugins"]["jobs"] = {}
"""

WIDE, PHONE = (1200, 1100), (390, 844)


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--into", type=Path, default=TRACKED, metavar="DIRECTORY")
    into = parser.parse_args().into
    into.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="pictures-") as directory,
        SimulatedMaster(Path(directory) / "master", more=OPEN) as master,
        Browser("about:blank") as browser,
    ):
        for _build in range(3):
            master.force("check")
        master.force("other")
        for name, size in (("vms", WIDE), ("vms-phone", PHONE)):
            taken = take(browser, f"{master.ui}#/vms", size)
            (into / f"{name}.png").write_bytes(taken)


def take(browser: Browser, url: str, size: tuple[int, int]) -> bytes:
    """Return a picture of a page, once it shows a build that waits, and what its user may do."""
    browser.resize(*size)
    browser.open("about:blank")
    browser.open(url)
    wait_for("VMs that build", lambda: browser.text.count("build") > 2)  # noqa: PLR2004
    browser.wait_for_text("is reached")
    wait_for("the buttons", lambda: browser.buttons)
    browser.act("document.querySelector('.ll-timeline summary, summary')", "click()")
    wait_for("the slots", lambda: browser.evaluate("!!document.querySelector('.ll-part')"))
    taken = browser.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)
    return base64.b64decode(taken["data"])


if __name__ == "__main__":
    main()
