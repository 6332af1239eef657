# SPDX-License-Identifier: GPL-2.0-only
"""Builds in VMs without a network, whose workers come to their master through channels.

One hypervisor and one master serve the whole file. The master has no port of TCP for workers. The
label ``cold`` boots its VMs. The label ``debian-12`` has a spare, which was booted, saved and
resumed. What builds in ``cold`` fetch comes from servers on the loopback of this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import buildmaster
import lab as lab_module
import ways_out
from buildmaster import BuildMaster, wait_for
from commands import status, told
from lab import Lab
from latent_libvirt.images.local import LocalImage
from pools import PoolSettings, master_cfg, write_pool
from slsa import Statement

SIZE = 1_000_000

FILE = random.Random(15).randbytes(1_500_000)

COLD = """
cold:
  image: image
  memory: 512MiB
  network: {{allow: [{allowed}]}}
  start: boot
  max_vms: 1
  boot_timeout: 4m
"""

SETTINGS = PoolSettings(
    max_vms=3,
    slots=3,
    network="none",
    start="resume",
    connection="channel",
    label_keys="spares: 1\ncancel_timeout: 1s",
    launch_attempts=1,
)

LINES = 3000

SAY_LINES = """
import sys, time
for first in range(0, %(prop:lines)s, 1000):
    for number in range(first, first + 1000):
        print(number)
    sys.stdout.flush()
    time.sleep(0.05)
"""

WITH_WORKER = """
import ctypes, glob, os, signal, time
(port,) = [
    "/dev/" + path.split("/")[-2]
    for path in glob.glob("/sys/class/virtio-ports/*/name")
    if open(path).read().strip() == "org.latent_libvirt.worker.0"
]
((worker, descriptor),) = [
    (int(path.split("/")[2]), int(path.split("/")[4]))
    for path in glob.glob("/proc/[0-9]*/fd/*")
    if os.path.islink(path) and os.readlink(path) == port
]
"""

FLOOD = f"""{WITH_WORKER}
os.kill(worker, signal.SIGSTOP)
PIDFD_GETFD = 438
device = ctypes.CDLL(None).syscall(PIDFD_GETFD, os.pidfd_open(worker), descriptor, 0)
os.set_blocking(device, True)
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    try:
        os.write(device, b"x" * 65536)
    except OSError:
        time.sleep(0.01)
"""

MUTE = f"""{WITH_WORKER}
while not os.path.exists("given"):
    time.sleep(0.01)
os.kill(worker, signal.SIGSTOP)
"""

FETCH = """
import base64, hashlib, http.client, json, os, socket, sys, time, urllib.request
ports = json.loads(sys.argv[1])
proxy = os.environ["http_proxy"].partition("//")[2]

def get(url):
    began = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            said = answer.status, hashlib.sha256(answer.read()).hexdigest()
    except urllib.error.HTTPError as error:
        said = error.code, error.read().decode()
    print(f"{said[0]} in {time.monotonic() - began:.3f} s", file=sys.stderr)
    return said

def connect(where):
    tunnel = http.client.HTTPConnection(proxy, timeout=60)
    name, _, port = where.rpartition(":")
    tunnel.set_tunnel(name, int(port))
    try:
        tunnel.request("GET", "/file")
        return 200, hashlib.sha256(tunnel.getresponse().read()).hexdigest()
    except OSError as error:
        return 0, str(error)

good, private, other = ports
allowed = f"http://localhost:{good}"
post = urllib.request.Request(allowed + "/echo", data=b"x" * 300_000)
print("fetched " + json.dumps({
    "allowed": get(allowed + "/file"),
    "package": [get(allowed + "/a.deb") for _ in range(2)],
    "sent": get(post),
    "tunnel": connect(f"localhost:{good}"),
    "redirect": get(allowed + f"/redirect?{other}"),
    "port": get(f"http://localhost:{other}/file"),
    "private": get(f"http://localhost:{private}/file"),
    "address": get(f"http://127.0.0.1.:{good}/file"),
    "name": get("http://example.org/"),
    "tunnel to a port": connect(f"localhost:{other}"),
    "tunnel to an address": connect(f"127.0.0.1:{good}"),
}))
"""

FLOOD_PROXY = """
import os, signal, sys, time
port = "/dev/" + [
    name for name in os.listdir("/sys/class/virtio-ports")
    if "network" in open(f"/sys/class/virtio-ports/{name}/name").read()
][0]
for pid in filter(str.isdigit, os.listdir("/proc")):
    descriptors = f"/proc/{pid}/fd"
    try:
        opened = [os.readlink(f"{descriptors}/{each}") for each in os.listdir(descriptors)]
    except OSError:
        continue
    if port in opened:
        os.kill(int(pid), signal.SIGKILL)
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    try:
        device = os.open(port, os.O_WRONLY | os.O_NONBLOCK)
        break
    except OSError:
        time.sleep(0.01)
written, latest = 0, time.monotonic()
while time.monotonic() - latest < 2 and written < 4_000_000:
    try:
        written += os.write(device, b"x" * 65536)
        latest = time.monotonic()
    except OSError:
        time.sleep(0.01)
print("wrote", written)
"""

FACTORY = f"""
SAY_LINES = {SAY_LINES!r}
FETCH = {FETCH!r}
FLOOD_PROXY = {FLOOD_PROXY!r}
WAYS_OUT = {ways_out.PROGRAM!r}
FLOOD = {FLOOD!r}
MUTE = {MUTE!r}
factory = util.BuildFactory([
    steps.ShellCommand(
        name="look",
        command="ls /sys/class/net; cat /sys/bus/pci/devices/*/class; "
        "head -c {SIZE} /dev/urandom >made; sha256sum made",
    ),
    steps.ShellCommand(
        name="ways out",
        command=["sudo", "python3", "-c", WAYS_OUT, util.Property("port")],
        doStepIf=lambda step: step.getProperty("port"),
    ),
    steps.FileUpload(workersrc="made", masterdest=util.Interpolate("made-%(prop:buildername)s")),
    steps.FileDownload(mastersrc="given", workerdest="given"),
    steps.ShellCommand(name="check", command="sha256sum given"),
    steps.ShellCommand(name="lines", command=["python3", "-c", util.Interpolate(SAY_LINES)]),
])
fetch = util.BuildFactory([
    *factory.steps,
    steps.ShellCommand(
        name="fetch",
        command=["python3", "-c", FETCH, open("ports").read()],
        env={{"no_proxy": "", "NO_PROXY": ""}},
    ),
    steps.ShellCommand(name="flood", command=["sudo", "-E", "python3", "-c", FLOOD_PROXY]),
    steps.ShellCommand(name="go on", command=["echo", "the worker goes on"]),
])
flood = util.BuildFactory([
    steps.ShellCommand(
        name="flood", command=["sudo", "setsid", "-f", "python3", "-c", FLOOD], haltOnFailure=True
    ),
    steps.ShellCommand(name="wait", command=["sleep", "1000"]),
])
mute = util.BuildFactory([
    steps.ShellCommand(
        name="mute", command=["sudo", "setsid", "-f", "python3", "-c", MUTE], haltOnFailure=True
    ),
    *[steps.FileDownload(mastersrc="given", workerdest="given") for _ in range(100)],
])
"""

BUILDERS = """
builders = {"cold": ("cold", fetch), "ready": ("debian-12", factory)}
builders |= {"flood": ("debian-12", flood), "mute": ("debian-12", mute)}
BuildmasterConfig["builders"] = [
    util.BuilderConfig(name=name, workernames=pool.worker_names(label), factory=of)
    for name, (label, of) in builders.items()
]
BuildmasterConfig["protocols"] = {"null": {}}
BuildmasterConfig["schedulers"] = [
    schedulers.ForceScheduler(
        name="force",
        builderNames=list(builders),
        properties=[
            util.IntParameter(name="lines", default=3000),
            util.StringParameter(name="port", default=""),
        ],
    )
]
"""


class _Files(BaseHTTPRequestHandler):
    """Has a file, echoes, and redirects to a port."""

    def do_GET(self) -> None:
        path, _, port = self.path.partition("?")
        if path == "/redirect":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{port}/file")
            self.end_headers()
        elif self.headers["If-None-Match"]:
            self.send_response(304)
            self.end_headers()
        else:
            self._answer(FILE)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def files() -> Iterator[int]:
    """Give the port of a server on the loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def servers() -> Iterator[list[int]]:
    """Give the ports of three servers: allowed, not allowed as it is private, and not listed."""
    with files() as good, files() as private, files() as other:
        yield [good, private, other]


@pytest.fixture(scope="module")
def here(
    tmp_path_factory: pytest.TempPathFactory, cache: Path, image: LocalImage, servers: list[int]
) -> Iterator[tuple[Lab, BuildMaster]]:
    """Give a hypervisor and a master for the whole file; nothing of VMs is left at the end."""
    directory = tmp_path_factory.mktemp("channel")
    with lab_module.running(directory / "lab", cache=cache) as lab:
        lab.publish(image)
        home = directory / "master"
        home.mkdir()
        good, private, _ = servers
        allowed = f"{{name: localhost, port: {good}, private: true}}, 'localhost:{private}'"
        labels = COLD.format(allowed=allowed)
        write_pool(home, lab.uri, replace(SETTINGS, other_labels=labels))
        (home / "ports").write_text(json.dumps(servers))
        (home / "given").write_bytes(random.Random(14).randbytes(SIZE))
        with buildmaster.running(home, master_cfg(FACTORY) + BUILDERS) as master:
            yield lab, master


def text_of(master: BuildMaster, build: dict[str, Any], step: str) -> str:
    return master.raw(f"logs/{log_of(master, build, step, 'stdio')}/raw")


def log_of(master: BuildMaster, build: dict[str, Any], step: str, log: str) -> int:
    (found,) = [s for s in master.get(f"builds/{build['buildid']}/steps") if s["name"] == step]
    logs = master.get(f"steps/{found['stepid']}/logs")
    (logid,) = [each["logid"] for each in logs if each["name"] == log]
    return int(logid)


def numbers_in(text: str) -> list[int]:
    return [int(line) for line in text.splitlines() if re.fullmatch("[0-9]+", line)]


def ways(master: BuildMaster) -> dict[str, str]:
    lines = (master.directory / "leases.jsonl").read_text().splitlines()
    return {report["label"]: report["way"] for report in map(json.loads, lines)}


def see_all_went_well(master: BuildMaster, request: int, builder: str, lines: int) -> None:
    assert master.wait_for_result(request) == "SUCCESS", master.log[-5000:]
    (build,) = master.builds(request)
    seen = text_of(master, build, "look").splitlines()
    first_class = next(at for at, line in enumerate(seen) if line.startswith("0x"))
    assert seen[first_class - 1] == "lo"
    assert not re.search("^(eth|en|wl)|^0x02", "\n".join(seen), re.MULTILINE)
    made = (master.directory / f"made-{builder}").read_bytes()
    assert hashlib.sha256(made).hexdigest() in "\n".join(seen)
    given = (master.directory / "given").read_bytes()
    assert hashlib.sha256(given).hexdigest() in text_of(master, build, "check")
    assert numbers_in(text_of(master, build, "lines")) == list(range(lines))


@pytest.fixture(scope="module")
def cold(here: tuple[Lab, BuildMaster]) -> int:
    """Give the request of a build in a VM that boots, which fetches something."""
    return here[1].force("cold")


def test_builds_run_without_a_network_cold_and_in_a_spare(
    here: tuple[Lab, BuildMaster], cold: int, servers: list[int]
) -> None:
    _lab, master = here
    wait_for("a spare", lambda: status(master)["spares"])
    ready = master.force("ready", port=str(servers[0]))
    seen: set[tuple[str, str]] = set()
    both = {("cold", "channel"), ("debian-12", "channel")}
    wait_for("both channels to be shown", lambda: connections(master, seen) == both)

    see_all_went_well(master, cold, "cold", LINES)
    see_all_went_well(master, ready, "ready", LINES)
    wait_for("both leases to end", lambda: len(ways(master)) == 2)
    assert ways(master) == {"cold": "cold", "debian-12": "spare"}
    see_no_way_out(master, ready)


def see_no_way_out(master: BuildMaster, request: int) -> None:
    (build,) = master.builds(request)
    lines = text_of(master, build, "ways out").splitlines()
    (line,) = [line for line in lines if line.startswith("ways out ")]
    tried = json.loads(line.removeprefix("ways out "))
    assert len(tried) >= 20
    assert {way: led_to for way, led_to in tried.items() if led_to} == {}


def test_a_guest_without_a_card_reaches_what_its_label_allows_and_nothing_else(
    here: tuple[Lab, BuildMaster], servers: list[int], cold: int
) -> None:
    _lab, master = here
    good, private, _other = servers
    assert master.wait_for_result(cold) == "SUCCESS", master.log[-5000:]
    (build,) = master.builds(cold)
    (line,) = [
        line for line in text_of(master, build, "fetch").splitlines() if line.startswith("fetched ")
    ]
    fetched = json.loads(line.removeprefix("fetched "))

    digest = hashlib.sha256(FILE).hexdigest()
    assert fetched["allowed"] == fetched["tunnel"] == [200, digest]
    assert fetched["package"] == [[200, digest]] * 2
    assert fetched["sent"] == [200, hashlib.sha256(b"x" * 300_000).hexdigest()]
    listed = ", ".join(map(str, sorted([good, private])))
    at_port = f"label cold allows localhost at port {listed} only"
    by_address = f"127.0.0.1:{good} is an IP address, and label cold allows names"
    for key in ("redirect", "port"):
        assert fetched[key] == [403, f"latent_libvirt: {at_port}\n"]
    assert fetched["address"] == [403, f"latent_libvirt: {by_address}\n"]
    assert fetched["name"] == [403, "latent_libvirt: label cold does not allow example.org:80\n"]
    status, why = fetched["private"]
    assert status == 403
    assert re.match(r"latent_libvirt: localhost has the address \S+, which is not public", why)
    assert at_port in fetched["tunnel to a port"][1]
    assert by_address in fetched["tunnel to an address"][1]

    see_log_and_statement(master, build, good)
    # The last step but one has flooded the channel.
    assert "the channel to the forward proxy is given up" in master.log
    assert "the worker goes on" in text_of(master, build, "go on")


def see_log_and_statement(master: BuildMaster, build: dict[str, Any], good: int) -> None:
    url, digest = f"http://localhost:{good}/file", hashlib.sha256(FILE).hexdigest()
    path = f"builds/{build['buildid']}/data"
    wait_for("the statement", lambda: "provenance" in str(master.get(path)))
    statement = json.loads(master.raw(f"{path}/provenance/value"))
    log_id = log_of(master, build, "worker_preparation", "network")
    (content,) = master.get(f"logs/{log_id}/contents")
    log = content["content"]
    lines = log.splitlines()
    fetched = f"GET {url}: 200 {len(FILE)} bytes sha256:{digest} via 127.0.0.1"
    assert fetched in lines
    package = fetched.replace("/file", "/a.deb")
    assert [line for line in lines if "a.deb" in line] == [package, f"{package} from the cache"]
    assert any(line.startswith(f"CONNECT localhost:{good}: 200 ") for line in lines)
    assert "GET http://example.org/: 403 label cold does not allow example.org:80" in lines

    assert statement["subject"][0]["digest"]["sha256"] == hashlib.sha256(log.encode()).hexdigest()
    image, *found = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert len(image["digest"]["sha256"]) == 64
    (material,) = [each for each in found if each["uri"] == url]
    assert material["digest"] == {"sha256": digest}
    (tunnel,) = [each for each in found if each["annotations"]["bytesReceived"] > len(FILE)]
    assert (tunnel["uri"], "digest" in tunnel) == (f"tcp://localhost:{good}", False)
    Statement.model_validate(statement)


def test_nothing_is_lost_when_libvirtd_is_killed_in_the_middle_of_a_log(
    here: tuple[Lab, BuildMaster],
) -> None:
    lab, master = here
    request = master.force("ready", lines="20000")
    build = master.wait_for_build(request)
    for least in (3000, 10000):
        wait_for(f"{least} lines", partial(has_lines, master, build, least))
        lab.sandbox.kill()
        lab.sandbox.restart()

    see_all_went_well(master, request, "ready", 20000)


def connections(master: BuildMaster, seen: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Add to *seen* how the workers of each label have come; they need not be there at once."""
    leases = status(master)["leases"]
    seen.update((each["label"], each["connection"]) for each in leases if each["connection"])
    return seen


def test_a_guest_that_floods_its_channel_is_cut_off(here: tuple[Lab, BuildMaster]) -> None:
    _lab, master = here
    request = master.force("flood")

    assert master.wait_for_result(request) == "EXCEPTION"
    assert "the worker's channel is given up" in master.log


def test_a_guest_that_does_not_read_holds_up_nobody_else(here: tuple[Lab, BuildMaster]) -> None:
    _lab, master = here
    mute = master.force("mute")
    build = master.wait_for_build(mute)
    ready = master.force("ready")
    see_all_went_well(master, ready, "ready", LINES)

    assert master.results(mute) == [None]
    master.cancel(build)
    assert master.wait_for_result(mute) == "CANCELLED"


def test_doctor_lets_a_worker_come_through_its_channel(
    here: tuple[Lab, BuildMaster], servers: list[int]
) -> None:
    lab, master = here
    allow = f"{{allow: [{{name: localhost, port: {servers[0]}, private: true}}]}}"
    only = replace(
        SETTINGS, max_vms=1, start="boot", network=allow, connection="channel", label_keys=""
    )
    (master.directory / "doctor.yaml").write_text(replace(only, other_labels="").yaml(lab.uri))
    wait_for("the VMs of other tests to go", lambda: len(lab.domains()) <= 1)  # one is the spare
    said = " ".join(told(master, "doctor", "doctor.yaml").split())

    assert "its worker comes through a channel, and its builds fetch through another one" in said
    assert "all 1 allowed destinations can be reached from this machine" in said


def has_lines(master: BuildMaster, build: dict[str, Any], least: int) -> bool:
    steps = [s for s in master.get(f"builds/{build['buildid']}/steps") if s["name"] == "lines"]
    logs = [log for step in steps for log in master.get(f"steps/{step['stepid']}/logs")]
    return bool(sum(log["num_lines"] for log in logs) > least)
