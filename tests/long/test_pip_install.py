# SPDX-License-Identifier: GPL-2.0-only
"""``pip install`` in a guest without a card, of what its label allows and of what it does not."""

from __future__ import annotations

import contextlib
import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import buildmaster
import lab as lab_module
from latent_libvirt.images.local import LocalImage
from pools import PoolSettings, master_cfg, write_pool

WHEEL = "tiny-1.0-py3-none-any.whl"
INFO = "tiny-1.0.dist-info"

INSTALL = """
import json, subprocess, sys, time
found = {}
for name, port in json.loads(sys.argv[1]).items():
    command = [".venv/bin/pip", "install", "--retries=0", "--disable-pip-version-check"]
    command += ["--trusted-host=localhost", f"--index-url=http://localhost:{port}/simple", "tiny"]
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found[name] = [done.returncode, round(time.monotonic() - began, 2), done.stdout[-2000:]]
print("installed " + json.dumps(found))
"""

FACTORY = f"""
INSTALL = {INSTALL!r}
factory = util.BuildFactory([
    steps.ShellCommand(command=["python3", "-m", "venv", ".venv"], haltOnFailure=True),
    steps.ShellCommand(
        name="install",
        command=["python3", "-c", INSTALL, open("ports").read()],
        env={{"no_proxy": "", "NO_PROXY": ""}},
    ),
    steps.ShellCommand(command=[".venv/bin/python", "-c", "import tiny"], haltOnFailure=True),
])
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def index(directory: Path) -> Iterator[int]:
    """Give the port of a package index."""
    handler = partial(_Quiet, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def write_index(directory: Path) -> None:
    place = directory / "simple/tiny"
    place.mkdir(parents=True)
    (place / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    with zipfile.ZipFile(place / WHEEL, "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr(f"{INFO}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        tags = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{INFO}/WHEEL", tags)
        wheel.writestr(f"{INFO}/RECORD", "")


def test_pip_install_is_denied_with_the_reason_and_allowed(
    tmp_path: Path,
    cache: Path,
    image: LocalImage,
) -> None:
    home = tmp_path / "master"
    home.mkdir()
    write_index(tmp_path / "www")
    with (
        index(tmp_path / "www") as good,
        index(tmp_path / "www") as other,
        lab_module.running(tmp_path / "lab", cache=cache) as lab,
    ):
        lab.publish(image)
        (home / "ports").write_text(json.dumps({"denied": other, "allowed": good}))
        network = f"{{allow: [{{name: localhost, port: {good}, private: true}}]}}"
        settings = PoolSettings(
            network=network, connection="channel", boot_timeout="10m", attach_timeout="5m"
        )
        write_pool(home, lab.uri, settings)
        with buildmaster.running(home, master_cfg(FACTORY)) as master:
            job = master.force()
            result = master.wait_for_result(job, deadline=1800)
            (build,) = master.builds(job)
            said = master.logs(build)
            assert result == "SUCCESS", (said, master.log[-5000:])

    line = next(line for line in said.splitlines() if line.startswith("installed "))
    found = json.loads(line.removeprefix("installed "))
    status, _seconds, text = found["denied"]
    assert status == 1
    assert "No matching distribution found" in text
    # pip says no more of an index by HTTP, and the build's log `network` has the reason.
    assert f"{other}/simple/tiny/: 403 label debian-12 allows localhost at port {good} only" in said
    assert found["allowed"][0] == 0
