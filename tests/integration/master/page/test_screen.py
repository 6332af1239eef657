# SPDX-License-Identifier: GPL-2.0-only
"""The screen of a real VM on the page "VMs": who sees it, and what it follows."""

from __future__ import annotations

import urllib.parse
from typing import Any

from browser import Browser
from buildmaster import BuildMaster, wait_for
from commands import status
from page_users import POOL, User, audit, logged_in
from pools import MakeMaster, PoolSettings
from ui import accessibility

PAINTING = r"""
import os
from buildbot.process.buildstep import BuildStep
from twisted.internet import reactor
from twisted.internet.task import deferLater

class Until(BuildStep):
    async def run(self):
        while not os.path.exists(self.name):
            await deferLater(reactor, 0.1, lambda: None)
        return 0

def painted(colour):
    text = f"\\033[4{colour}m\\033[2J"
    return steps.ShellCommand(
        name="paint", command=f"{consoles} && printf '{text}' | sudo -n tee /dev/tty1"
    )

# The kernel writes on both, and /dev/console is the serial one.
consoles = "cat /proc/consoles && grep -q '^tty0 ' /proc/consoles"
consoles += " && grep -q '^ttyS0 .*(.*C' /proc/consoles"

factory = util.BuildFactory([painted(1), Until(name="green"), painted(2), Until(name="over")])
"""

USERS = """
c = BuildmasterConfig
c["www"]["plugins"]["latent_libvirt"] = {}
c["www"]["auth"] = util.UserPasswordAuth({"viewer": "pw", "dev": "pw"})
c["www"]["authz"] = util.Authz(
    allowRules=[util.PoolEndpointMatcher(role="viewers", action="screen")],
    roleMatchers=[util.RolesFromUsername(roles=["viewers"], usernames=["viewer"])],
)

from latent_libvirt.control.operations import Operations
take = Operations.picture

def picture(operations, name):
    with open("pictures", "a") as pictures:
        print(name, file=pictures)
    return take(operations, name)

Operations.picture = picture
"""
"""Who may look; each picture that is taken is written down."""

PICTURE = "document.querySelector('.ll-screen')"

COLOUR = f"""(() => {{
    const image = {PICTURE};
    if (!image?.complete || !image.naturalWidth) return null;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const [x, y] = [canvas.width >> 1, canvas.height >> 1];
    return [...context.getImageData(x, y, 1, 1).data.slice(0, 3)].map((part) => part > 100);
}})()"""
"""What is in the middle of the picture: whether there is much red, green and blue."""

RED, GREEN = [True, False, False], [False, True, False]


def test_a_screen_appears_follows_the_guest_ends_with_the_vm_and_is_refused_without_the_right(
    make_master: MakeMaster,
) -> None:
    settings = PoolSettings(label_keys="graphics: true")
    master = make_master(PAINTING, settings=settings, more=USERS)
    with Browser(master.ui) as browser:
        browser.wait_for_text("Welcome")  # all is loaded: what follows is quicker than a boot
        job = master.force()
        wait_for("the build", lambda: master.get("builds"))  # whose page there is only then
        browser.go_to("#/builders/1/builds/1")
        browser.wait_for_text("booting")  # a phase of the VM that comes up
        vm = wait_for("the VM", lambda: building(master))
        query = urllib.parse.urlencode({"pool": POOL, "vm": vm["vm_id"]})
        see_refusals(master, browser, vm["worker"], query)

        logged_in(master, browser, "viewer")
        browser.act(link(vm["worker"]), "click()")
        wait_for("the screen", lambda: browser.evaluate(COLOUR) == RED)
        browser.wait_for_text(f"Screen of {vm['worker']} on host {vm['host']}, build")
        assert accessibility(browser) == []
        (master.directory / "green").touch()
        wait_for("another screen", lambda: browser.evaluate(COLOUR) == GREEN)
        (master.directory / "over").touch()
        assert master.wait_for_result(job) == "SUCCESS"
        browser.wait_for_text("There is no screen any more")
        assert browser.evaluate(COLOUR) == GREEN, "its last picture stays"

    see_that_one_vm_was_looked_at(master)
    (line,) = [line for line in audit(master) if line["outcome"] == "done"]
    assert (line["user"], line["command"], line["name"]) == ("viewer", "screen", vm["vm_id"])


def building(master: BuildMaster) -> dict[str, Any] | None:
    """Return the VM in which the guest has painted."""
    names = [each["name"] for each in master.get("builds/1/steps")] if master.get("builds") else []
    return next(iter(status(master)["leases"]), None) if "green" in names else None


def see_refusals(master: BuildMaster, browser: Browser, worker: str, query: str) -> None:
    """See that nobody without the right gets a picture, nor a page of another site."""
    path = f"screen?{query}"
    assert [User(master, name).get(path) for name in ("dev", "")] == [403] * 2
    assert User(master, "viewer").get(path, Origin="http://evil.example") == 403
    lines = wait_for("the lines", lambda: found if len(found := audit(master)) == 3 else None)
    assert {(line["command"], line["outcome"]) for line in lines} == {("screen", "refused")}

    logged_in(master, browser, "dev")
    browser.wait_for_text(worker)
    assert not browser.evaluate(f"!!{link(worker)}")
    browser.go_to(f"#/vms/screen?{query}")
    browser.wait_for_text("You may not see this screen")
    assert not (master.directory / "pictures").exists(), "nothing was done"


def link(worker: str) -> str:
    """Return the expression of the link to a VM's screen."""
    return f"document.querySelector('a[aria-label=\"Screen of {worker}\"]')"


def see_that_one_vm_was_looked_at(master: BuildMaster) -> None:
    """See that pictures were taken of one VM, more than once."""
    taken = (master.directory / "pictures").read_text().splitlines()
    assert len(taken) > 2
    assert len(set(taken)) == 1
