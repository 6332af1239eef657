# SPDX-License-Identifier: GPL-2.0-only
"""An operator at the serial console of a VM that a real master runs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import children
from buildmaster import DEADLINE, BuildMaster, wait_for
from lab import Lab
from pools import MakeMaster
from typist import Typist, typing_into

COMMAND = Path(sys.executable).with_name("latent-libvirt")

SLEEPING = """
factory = util.BuildFactory([steps.ShellCommand(name="sleep", command=["sleep", "3600"])])
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
    master = make_master(SLEEPING)
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
        operator.type("echo $((6 * 7)) $(id -un) $(id -un $(stat -c %u /proc/$(pgrep sleep)))\r")
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

        script = console(master, "check/1", "--quiet-for", "10", typed="echo $((11 * 11))\n")
        assert "121" in script.stdout
        assert (script.returncode, "Ctrl-]" in script.stderr) == (0, False)

        master.cancel(master.builds(job)[0])
        output, said = watcher.communicate(timeout=DEADLINE)

    assert watcher.returncode == 0
    for answer in ("42 root worker", "49", "121"):
        assert answer in output
    assert "The VM is gone: the master has taken it down." in said
    assert nobody.returncode == 1
    assert "there is no VM called 'check/2'" in nobody.stderr
    assert "latent-libvirt-1@here (worker debian-12-" in nobody.stderr
    assert "Traceback" not in master.log


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
