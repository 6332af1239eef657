# SPDX-License-Identifier: GPL-2.0-only
"""Signals of what tests start, wherever the tests themselves are started from."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"

TELL = """
import signal as s
print(*(s.getsignal(n).name for n in (s.SIGHUP, s.SIGQUIT, s.SIGTERM)))
print(s.getsignal(s.SIGINT) is s.default_int_handler)  # Python's own, unless it is ignored
"""

START = f"""
import runpy, subprocess, sys
runpy.run_path({str(CONFTEST)!r})["pytest_configure"]()
subprocess.run([sys.executable, "-c", {TELL!r}], check=True)
"""


def test_children_do_not_ignore_what_a_shell_has_told_the_tests_to_ignore() -> None:
    shell = """trap '' HUP INT QUIT TERM; exec "$0" "$@" """
    told = subprocess.run(
        ["sh", "-c", shell, sys.executable, "-c", START], check=True, capture_output=True, text=True
    )

    assert told.stdout.split() == ["SIG_DFL", "SIG_DFL", "SIG_DFL", "True"]


def test_sigterm_ends_the_tests_as_ctrl_c_does_though_a_reactor_has_begun_to_listen_to_it() -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
