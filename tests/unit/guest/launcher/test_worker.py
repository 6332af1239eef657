# SPDX-License-Identifier: GPL-2.0-only
"""The worker's code, as the launcher imports it."""

from __future__ import annotations

import subprocess
import sys

from latent_libvirt.guest.launcher import version

WITHOUT_THE_REST = """
import sys
sys.path[:0] = {path!r}
from launcher import life
print(life.import_worker().Worker.__name__, life.worker_version(), "autobahn" in sys.modules)
print(*sorted(name for name in sys.modules if name.startswith("latent_libvirt")))
"""


def run_python(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


def test_the_launcher_needs_nothing_else_of_ours_and_no_websockets() -> None:
    home = version.files()["life.py"].parents[1]
    site = [path for path in sys.path if path.endswith("site-packages")]

    worker, ours = run_python(WITHOUT_THE_REST.format(path=[str(home), *site]))

    assert worker.startswith("Worker 4.")
    assert worker.endswith("False")
    assert ours == ""
