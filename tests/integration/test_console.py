# SPDX-License-Identifier: GPL-2.0-only
"""An operator at the serial console of a VM that a real master runs."""

from __future__ import annotations

import getpass
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import children
from browser import Browser
from buildmaster import DEADLINE, BuildMaster, wait_for
from lab import Lab
from pools import MakeMaster
from typist import Typist, typing_into
from ui import terminal_text

COMMAND = Path(sys.executable).with_name("latent-libvirt")

SLEEPING = """
program = 'sleep 3600 & while :; do echo "shells: $(pgrep -cx bash)"; sleep 1; done'
factory = util.BuildFactory([steps.ShellCommand(name="sleep", command=["sh", "-c", program])])
"""

PAGE = """
class Anybody:
    def setAuthz(self, authz):
        pass
    def getRolesFromUser(self, user):
        return ["anybody"]

BuildmasterConfig["www"]["plugins"]["latent_libvirt"] = {}
BuildmasterConfig["www"]["authz"] = util.Authz(
    allowRules=[util.PoolEndpointMatcher(role="anybody", action="terminal")],
    roleMatchers=[Anybody()],
)
"""


def console(master: BuildMaster, *arguments: str, typed: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a script does, to its end."""
    return subprocess.run(
        [COMMAND, "console", *arguments],
        cwd=master.directory,
        input=typed,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def test_an_operator_gets_a_shell_of_root_in_a_vm_that_runs_a_build(
    lab: Lab, make_master: MakeMaster
) -> None:
    master = make_master(SLEEPING, more=PAGE)
    job = master.force()
    wait_for("the VM to boot", lab.domains)
    nobody = console(master, "check/2", typed="")
    command = (COMMAND, "console", "check/1")
    watching = (COMMAND, "console", "latent-libvirt-1@here", "--read-only")
    with (
        typing_into(command, cwd=master.directory) as operator,
        running_until_killed(*watching, cwd=master.directory) as watcher,
    ):
        operator.read_until("Ctrl-] detaches")
        operator.read_until("Connected to buildmaster")
        raw = operator.modes()

        operator.type("\r")
        operator.read_until(":~# ")
        owner = "$(id -un $(stat -c %u /proc/$(pgrep -ox sleep)))"
        operator.type(f"echo $((6 * 7)) $(id -un) {owner}\r")
        operator.read_until("42 root worker")

        lab.sandbox.kill()
        lab.sandbox.restart()
        wait_for("the connection", lambda: master.log.count("connected to qemu") > 1)
        wait_for("an answer", lambda: asked_again(operator))

        operator.type("\x1d")
        operator.read_until("Detached.")
        assert operator.process.wait(DEADLINE) == 0
        assert operator.modes() != raw

        with typing_into(
            (COMMAND, "shell", "check/1"), cwd=master.directory, size=(50, 132)
        ) as user:
            user.read_until(" stty rows 50 cols 132")
            user.type("stty size; echo over $((5 * 5))\r")
            assert "50 132" in user.read_until("over 25")
            user.type("\x1d")
            user.read_until("The shell is closed.")
            assert user.process.wait(DEADLINE) == 0

        see_terminal_in_a_browser(master)

        script = wait_for("an answer in time", lambda: answered(master))
        assert (script.returncode, "Ctrl-]" in script.stderr) == (0, False)

        master.cancel(master.builds(job)[0])
        output, said = watcher.communicate(timeout=DEADLINE)

    assert watcher.returncode == 0
    for answer in ("42 root worker", "49", "121"):
        assert answer in output
    assert "The VM is gone: the master has taken it down." in said
    assert said.count("which closes the shell for all") == 4, "three operators, and a browser"
    assert nobody.returncode == 1
    assert "there is no VM called 'check/2'" in nobody.stderr
    assert "latent-libvirt-1@here (worker debian-12-" in nobody.stderr
    assert "Traceback" not in master.log


def answered(master: BuildMaster) -> subprocess.CompletedProcess[str] | None:
    """Ask a question as a script does; return what became of it if the answer came in time."""
    script = console(master, "check/1", "--quiet-for", "10", typed="echo $((11 * 11))\n")
    return script if "121" in script.stdout else None


def see_terminal_in_a_browser(master: BuildMaster) -> None:
    """See that a page types, shows, has a size that the shell follows, and leaves nothing."""
    wait_for("no shell", lambda: shells(master) == "shells: 0")
    with Browser(f"http://127.0.0.1:{master.web_port}/#/vms") as browser:
        browser.act(LINK, "click()")
        wait_for("a terminal", lambda: browser.evaluate("!!document.querySelector('.xterm-rows')"))
        wait_for("a prompt after its size", lambda: follows_size(browser))
        rows, columns = size(browser)
        browser.type("echo $((9 * 9)) $(stty size) $(pgrep -cx bash)\r")
        wait_for("its answer", lambda: f"81 {rows} {columns} 1" in terminal_text(browser))

        browser.act("document.querySelector('.ll-terminal')", "style.width = '60ch'")
        wait_for("another size", lambda: 0 < size(browser)[1] < columns)
        wait_for("the shell to follow", lambda: follows_size(browser))
        rows, columns = size(browser)
        browser.type("echo $((3 * 3)) $(stty size)\r")
        wait_for("its answer", lambda: f"9 {rows} {columns}" in terminal_text(browser))
        see_who_closes_the_shell(master, browser)
        assert browser.errors == []
    wait_for("the shell's end", lambda: shells(master) == "shells: 0")
    wait_for("no stream", lambda: log_count(master, "opened") == log_count(master, "closed") + 1)


def see_who_closes_the_shell(master: BuildMaster, browser: Browser) -> None:
    """See that each of two terminals says when the other closes the shell that both share."""
    command, closes = (COMMAND, "shell", "check/1"), "which closes the shell for all"
    with typing_into(command, cwd=master.directory, size=(50, 132)) as user:
        user.read_until(" stty rows 50 cols 132")
        user.read_until(":~# ")
        user.type("\x1d")
        user.read_until("The shell is closed.")
    name = f"User {getpass.getuser()} has left a terminal of this VM, {closes}."
    wait_for("the notice", lambda: name in status_of(browser))
    wait_for("the shell's end", lambda: shells(master) == "shells: 0")
    assert name in status_of(browser)
    browser.type("\r")
    wait_for("another shell", lambda: status_of(browser) == "Connected.")
    rows, columns = size(browser)
    browser.type("echo $((4 * 4)) $(stty size)\r")
    wait_for("its size", lambda: f"16 {rows} {columns}" in terminal_text(browser))

    with typing_into(command, cwd=master.directory, size=(50, 132)) as user:
        user.read_until(" stty rows 50 cols 132")
        user.read_until(":~# ")
        browser.open("about:blank")
        user.read_until(f"[User anonymous has left a terminal of this VM, {closes}.")
        wait_for("the shell's end", lambda: shells(master) == "shells: 0")
        user.type("\r")
        user.read_until(" stty rows 50 cols 132")
        user.type("\x1d")
        user.read_until("The shell is closed.")


def status_of(browser: Browser) -> str:
    """Return what a screen reader says of the page's state."""
    return str(browser.evaluate("document.querySelector('.ll-page [role=status]')?.textContent"))


def follows_size(browser: Browser) -> bool:
    """Return whether the shell shows a prompt after a command with the terminal's size."""
    rows, columns = size(browser)
    told = rf" stty rows {rows} cols {columns}.*:~# $"
    return rows > 0 and re.search(told, terminal_text(browser)) is not None


def log_count(master: BuildMaster, what: str) -> int:
    """Return how many consoles the master has opened, or closed."""
    return len(re.findall(rf"the console of latent-libvirt-1@here .* is {what}", master.log))


LINK = "document.querySelector('a[aria-label^=\"Terminal of debian-12-\"]')"


def shells(master: BuildMaster) -> str:
    """Return the last line in which the build says how many shells there are in its VM."""
    lines = master.raw("builds/1/steps/sleep/logs/stdio/raw").splitlines()
    return next((line for line in reversed(lines) if line.startswith("shells: ")), "")


def size(browser: Browser) -> tuple[int, int]:
    """Return the rows and columns that the page says its terminal has."""
    text = "document.body.innerText.match(/(\\d+) \\u00d7 (\\d+)/)?.slice(1).map(Number)"
    columns, rows = browser.evaluate(text) or (0, 0)
    return rows, columns


@contextmanager
def running_until_killed(*command: str | Path, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command that need not have ended when the ``with`` block ends, by a failure."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*children.WITH_US, *command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def asked_again(operator: Typist) -> bool:
    """Type a question, as one does again who gets no answer; return whether there has been one."""
    if "49" in operator.screen:
        return True
    operator.type("echo $((7 * 7))\r")
    time.sleep(2)
    return False
