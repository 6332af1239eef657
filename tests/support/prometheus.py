# SPDX-License-Identifier: GPL-2.0-only
"""A real Prometheus, and its promtool: from Debian's package, unpacked and not installed.

Installed, the package would start a service on the machine.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import children
from buildmaster import free_port, wait_for

CONFIGURATION = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: {rules}
scrape_configs:
  - job_name: latent-libvirt
    static_configs: [{{targets: ["{target}"]}}]
"""

_PROGRAMS = ("prometheus", "promtool")


def programs(cache: Path) -> Path:
    """Return the directory of Prometheus' programs; they are fetched unless they are in *cache*."""
    directory = cache / "prometheus"
    if not all((directory / name).exists() for name in _PROGRAMS):
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            _unpack(Path(scratch))
            for name in _PROGRAMS:
                (Path(scratch) / "usr/bin" / name).replace(directory / name)
    return directory


def _unpack(directory: Path) -> None:
    subprocess.run(["apt-get", "download", "--quiet", "prometheus"], check=True, cwd=directory)
    (package,) = directory.glob("prometheus_*.deb")
    subprocess.run(["dpkg-deb", "--extract", package, directory], check=True)


class Prometheus:
    """One that runs, and answers."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self._port = port
        self._process = process
        self._log = log

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression is at this moment: its series, each with ``metric``, ``value``.

        An expression that Prometheus does not understand fails the test.
        """
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def series(self, selector: str) -> list[dict[str, str]]:
        """Return the labels of the series that there are."""
        found: list[dict[str, str]] = self._get("series", **{"match[]": selector})
        return found

    def alerts(self) -> dict[str, str]:
        """Return the alerts that are pending or firing."""
        return {a["labels"]["alertname"]: a["state"] for a in self._get("alerts")["alerts"]}

    def serves(self) -> bool:
        """Whether it is ready."""
        assert self._process.poll() is None, self._log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=30):
                return True
        except OSError:
            return False

    def _get(self, what: str, **parameters: str) -> Any:
        asked = urllib.parse.urlencode(parameters)
        url = f"http://127.0.0.1:{self._port}/api/v1/{what}?{asked}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]


@contextmanager
def running(
    directory: Path, *, cache: Path, target: str, rules: list[Path]
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes *target* every second, for the length of a ``with`` block."""
    directory.mkdir()
    configuration = directory / "prometheus.yml"
    text = CONFIGURATION.format(target=target, rules=json.dumps([str(rule) for rule in rules]))
    configuration.write_text(text)
    port, log = free_port(), directory / "log"
    command = [
        *children.WITH_US,
        str(programs(cache) / "prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        prometheus = Prometheus(port, process, log)
        wait_for("Prometheus to be ready", prometheus.serves)
        yield prometheus
    finally:
        process.terminate()
        process.wait()
