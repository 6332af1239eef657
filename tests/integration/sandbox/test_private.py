# SPDX-License-Identifier: GPL-2.0-only
"""What a sandbox promises, tried with a real libvirtd and real (if empty) QEMU domains."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import libvirt
import pytest
from lxml import etree

from latent_libvirt.sandbox import PrivateLibvirtd

DEADLINE = 120.0  # seconds; reached only by a test that fails

DOMAIN = """
<domain type="qemu">
  <name>{name}</name>
  <memory unit="MiB">32</memory>
  <os><type arch="x86_64">hvm</type></os>
</domain>
"""

# Starts a sandbox with one domain, tells where it is, and then waits for the signal that ends it.
HOLDER = f"""
import signal, sys, libvirt
from pathlib import Path
from latent_libvirt.sandbox import PrivateLibvirtd

sandbox = PrivateLibvirtd(Path(sys.argv[1]))
sandbox.start()
libvirt.open(sandbox.uri).createXML({DOMAIN.format(name="left")!r})
print(sandbox.uri, flush=True)
signal.pause()
"""


def _start(uri: str, name: str) -> libvirt.virDomain:
    return libvirt.open(uri).createXML(DOMAIN.format(name=name))


def _domains(uri: str) -> set[str]:
    return {domain.name() for domain in libvirt.open(uri).listAllDomains()}


def _runtime(uri: str) -> Path:
    return Path(uri.partition("socket=")[2]).parents[2]


def _processes(runtime: Path) -> set[str]:
    """Name the processes that were started with this sandbox's environment."""
    return {comm for comm, _ in _with_capabilities(runtime)}


def _with_capabilities(runtime: Path) -> set[tuple[str, int]]:
    """Name them, and the privileges that each has (capabilities(7), as a number)."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(runtime) in (process / "environ").read_bytes():
                status = (process / "status").read_text()
                effective = re.search(r"CapEff:\s*(\w+)", status)
                assert effective is not None
                found.add(((process / "comm").read_text().strip(), int(effective[1], 16)))
        except OSError:  # it ended, or belongs to somebody else
            continue
    return found


def _eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_domains_run_and_end_in_it(sandbox: PrivateLibvirtd) -> None:
    domain = _start(sandbox.uri, "short")
    assert _domains(sandbox.uri) == {"short"}
    domain.destroy()
    assert _domains(sandbox.uri) == set()


def test_it_never_runs_as_root(sandbox: PrivateLibvirtd) -> None:
    with pytest.raises(libvirt.libvirtError, match="system"):
        libvirt.open(sandbox.uri.replace("/session", "/system"))


def test_two_of_them_know_nothing_of_each_other(
    sandbox: PrivateLibvirtd, tmp_path: Path, cache: Path
) -> None:
    with PrivateLibvirtd(tmp_path / "second", capability_cache=cache / "libvirt") as second:
        _start(sandbox.uri, "same-name")
        _start(second.uri, "same-name")
    assert _domains(sandbox.uri) == {"same-name"}


def test_stop_leaves_no_process_and_no_runtime_directory(sandbox: PrivateLibvirtd) -> None:
    _start(sandbox.uri, "left")
    runtime = _runtime(sandbox.uri)
    assert {"libvirtd", "qemu-system-x86"} <= _processes(runtime)
    sandbox.stop()
    assert _processes(runtime) == set()
    assert not runtime.exists()


def test_stop_may_be_repeated(sandbox: PrivateLibvirtd) -> None:
    sandbox.stop()
    sandbox.stop()


def test_it_can_be_started_again_after_stop(sandbox: PrivateLibvirtd) -> None:
    sandbox.stop()
    sandbox.start()
    assert _domains(sandbox.uri) == set()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_process_that_holds_it(tmp_path: Path, how: signal.Signals) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        runtime = _runtime(holder.stdout.readline().strip())
        assert "qemu-system-x86" in _processes(runtime)
        holder.send_signal(how)
    _eventually(lambda: _processes(runtime) == set())
    _eventually(lambda: not runtime.exists())


def test_domains_outlive_a_killed_libvirtd(sandbox: PrivateLibvirtd) -> None:
    _start(sandbox.uri, "survivor")
    runtime = _runtime(sandbox.uri)
    sandbox.kill()
    assert "libvirtd" not in _processes(runtime)
    assert "qemu-system-x86" in _processes(runtime)
    sandbox.restart()
    assert _domains(sandbox.uri) == {"survivor"}


def test_domains_outlive_a_restart(sandbox: PrivateLibvirtd) -> None:
    _start(sandbox.uri, "survivor")
    sandbox.restart()
    assert _domains(sandbox.uri) == {"survivor"}


def test_a_killed_domain_is_noticed(sandbox: PrivateLibvirtd) -> None:
    _start(sandbox.uri, "victim")
    sandbox.kill_domain("victim")
    _eventually(lambda: _domains(sandbox.uri) == set())


def test_a_suspended_libvirtd_answers_once_it_is_resumed(sandbox: PrivateLibvirtd) -> None:
    connection = libvirt.open(sandbox.uri)
    with ThreadPoolExecutor() as thread:
        sandbox.suspend()
        answer = thread.submit(connection.getLibVersion)
        with pytest.raises(TimeoutError):
            answer.result(timeout=0.2)
        sandbox.resume()
        assert answer.result(timeout=DEADLINE) > 0


def test_a_suspended_libvirtd_can_be_restarted(sandbox: PrivateLibvirtd) -> None:
    sandbox.suspend()
    sandbox.restart()
    assert _domains(sandbox.uri) == set()


def test_a_storage_pool_lies_in_the_directory_and_outlives_a_restart(
    sandbox: PrivateLibvirtd, tmp_path: Path
) -> None:
    name = sandbox.define_storage_pool("images")
    sandbox.restart()
    pool = libvirt.open(sandbox.uri).storagePoolLookupByName(name)
    assert pool.isActive()
    assert str(tmp_path) in pool.XMLDesc()


def test_what_was_found_out_about_qemu_is_kept_for_the_next_one(tmp_path: Path) -> None:
    kept = tmp_path / "capabilities"
    with PrivateLibvirtd(tmp_path / "libvirtd", capability_cache=kept) as first:
        libvirt.open(first.uri).getCapabilities()
    assert list(kept.rglob("*.xml"))


def test_locks_of_consoles_are_kept_inside(sandbox: PrivateLibvirtd) -> None:
    """They name processes of the sandbox, which are somebody else's everywhere else."""
    connection = libvirt.open(sandbox.uri)
    xml = DOMAIN.format(name="talking").replace(
        "</domain>", "<devices><serial type='pty'/></devices></domain>"
    )
    domain = connection.createXML(xml)
    terminal = etree.fromstring(domain.XMLDesc()).find("devices/serial/source")
    assert terminal is not None
    name = "LCK.._pts_" + Path(str(terminal.get("path"))).name
    outside = Path("/var/lock", name)
    before = outside.read_bytes() if outside.exists() else None

    domain.openConsole(None, connection.newStream(libvirt.VIR_STREAM_NONBLOCK), 0)

    assert (_runtime(sandbox.uri) / "locks" / name).exists()
    assert (outside.read_bytes() if outside.exists() else None) == before


def test_neither_libvirtd_nor_a_domain_has_a_privilege(sandbox: PrivateLibvirtd) -> None:
    _start(sandbox.uri, "plain")

    privileges = dict(_with_capabilities(_runtime(sandbox.uri)))

    assert privileges["libvirtd"] == privileges["qemu-system-x86"] == 0
