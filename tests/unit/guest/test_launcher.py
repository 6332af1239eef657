# SPDX-License-Identifier: GPL-2.0-only
"""The launcher's parts, without a VM. The whole of it is booted in tests/integration."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.guest import launcher, protocol
from latent_libvirt.guest.launcher import Channel, LauncherError, LineBuffer, PowerButton

PASSWORD = "correct horse"
GOOD: dict[str, Any] = {
    "type": "identity",
    "protocol": 1,
    "name": "debian-12-1",
    "password": PASSWORD,
    "master": {"host": "10.0.2.2", "port": 9989},
    "time": 1764000000.25,
    "hostname": "debian-12-1",
    "entropy": base64.b64encode(bytes(64)).decode(),
    "user": "worker",
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@contextmanager
def conversation() -> Iterator[tuple[Channel, socket.socket]]:
    """Give the launcher's end of a channel, and the host's."""
    host, guest = socket.socketpair()
    channel = Channel(guest.detach())
    try:
        yield channel, host
    finally:
        host.close()
        if channel.is_open:
            channel.close()


def line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


def no_buttons(tmp_path: Path) -> PowerButton:
    return PowerButton(tmp_path)


# The identity.


def test_the_identity_that_the_pool_sends_is_accepted() -> None:
    sent = protocol.Identity(
        name="debian-12-1",
        password=protocol.new_password(),
        master=protocol.MasterAddress("10.0.2.2", 9989),
        user="worker",
    )

    got = launcher.parse_identity(sent.message(now=1764000000.25))

    assert (got.name, got.password, got.user) == (sent.name, sent.password, sent.user)
    assert (got.master_host, got.master_port) == ("10.0.2.2", 9989)
    assert got.time == 1764000000.25
    assert len(got.entropy) == protocol.ENTROPY_BYTES


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", "a\nb"),
        ("name", "x" * 257),
        ("password", None),
        ("password", 7),
        ("time", True),
        ("time", "1764000000"),
        ("time", float("nan")),
        ("time", 12.0),
        ("time", 1e300),
        ("hostname", "-dash"),
        ("hostname", "a b"),
        ("hostname", "a\n127.0.0.1 trap"),
        ("hostname", "x" * 254),
        ("entropy", "not base64!"),
        ("entropy", base64.b64encode(bytes(8)).decode()),
        ("entropy", base64.b64encode(bytes(2000)).decode()),
        ("user", "../root"),
        ("user", "Worker"),
        ("user", ""),
        ("master", "10.0.2.2:9989"),
        ("master", {"host": "10.0.2.2"}),
        ("master", {"host": "10.0.2.2", "port": 0}),
        ("master", {"host": "10.0.2.2", "port": 65536}),
        ("master", {"host": "10.0.2.2", "port": True}),
        ("master", {"host": "tcp:evil:1", "port": 9989}),
        ("master", {"channel": 7}),
        ("master", {"channel": "0123456789abcdeg"}),
    ],
)
def test_an_identity_with_a_wrong_part_is_refused_and_not_repeated(key: str, value: object) -> None:
    with pytest.raises(LauncherError, match=r"^identity: \w+ is (not valid|missing or)") as caught:
        launcher.parse_identity({**GOOD, key: value})

    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("key", sorted(GOOD.keys() - {"type", "protocol"}))
def test_an_identity_without_a_part_is_refused(key: str) -> None:
    message = {name: value for name, value in GOOD.items() if name != key}

    with pytest.raises(LauncherError, match=f"identity: {key} is missing"):
        launcher.parse_identity(message)


@given(st.sampled_from(sorted(GOOD)), json_values)
def test_whatever_comes_is_an_identity_or_a_launcher_error(key: str, value: object) -> None:
    try:
        got = launcher.parse_identity({**GOOD, key: value})
    except LauncherError:
        return
    assert 0 < got.master_port < 65536
    assert got.hostname == got.hostname.strip()


@pytest.mark.parametrize("host", ["10.0.2.2", "fd00::2", "master", "ci-1.example.org"])
def test_a_master_is_named_by_address_or_host_name(host: str) -> None:
    message = {**GOOD, "master": {"host": host, "port": 9989}}

    assert launcher.parse_identity(message).master_host == host


def test_nothing_secret_is_in_the_representation_of_an_identity() -> None:
    assert PASSWORD not in repr(launcher.parse_identity(GOOD))


# The channel.


@given(st.lists(st.binary().map(lambda b: b.replace(b"\n", b"")), max_size=5), st.integers(1, 9))
def test_lines_arrive_whole_however_they_are_cut(lines: list[bytes], size: int) -> None:
    data = b"".join(each + b"\n" for each in lines)
    buffer = LineBuffer()

    pieces = (data[at : at + size] for at in range(0, len(data), size))

    assert [each for piece in pieces for each in buffer.feed(piece)] == lines


def test_a_line_without_end_is_refused_and_forgotten() -> None:
    buffer = LineBuffer()
    with pytest.raises(LauncherError, match="too long"):
        buffer.feed(b"x" * (launcher.MAX_LINE_BYTES + 1))

    assert buffer.feed(b"next\n") == [b"next"]


@pytest.mark.parametrize("text", [b"[1]", b"7", b"{", b"\xff", b"[" * 50_000])
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(LauncherError, match="is not"):
        launcher.parse_message(text)


@pytest.mark.parametrize("message", [{}, {"protocol": 2}, {"protocol": "1"}])
def test_another_protocol_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(LauncherError, match="does not speak protocol 1"):
        launcher.parse_message(line(message))


def test_what_the_launcher_says_is_a_line_of_json() -> None:
    with conversation() as (channel, host):
        channel.send("failed", reason="naïve\nreason")

        assert json.loads(host.recv(4096).removesuffix(b"\n")) == {
            "type": "failed",
            "protocol": 1,
            "reason": "naïve\nreason",
        }


# The conversation.


def nothing() -> Any:
    raise AssertionError("nobody asked for a rehearsal")


def converse(tmp_path: Path, *pieces: bytes) -> tuple[launcher.Identity, int]:
    """Have a conversation in which the host says *pieces*; return how often the guest waited."""
    with conversation() as (channel, host):
        said = 0

        def waiting() -> None:
            nonlocal said
            said += 1

        for piece in pieces:
            host.sendall(piece)
        return launcher.await_identity(channel, no_buttons(tmp_path), waiting, nothing), said


def test_a_vm_says_that_it_waits_by_itself(tmp_path: Path) -> None:
    assert converse(tmp_path, line(GOOD))[1] == 1


def test_every_hello_is_answered(tmp_path: Path) -> None:
    got, said = converse(tmp_path, line(protocol.HELLO), line(protocol.HELLO), line(GOOD))

    assert got.name == "debian-12-1"
    assert said == 3


def test_a_vm_that_is_to_be_saved_gets_ready_and_remembers_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "get_ready_to_be_saved", lambda: 1234.5)
    with conversation() as (channel, host):
        host.sendall(line(protocol.SAVE) + line(protocol.HELLO) + line(GOOD))

        got = launcher.await_identity(channel, no_buttons(tmp_path), lambda: None, nothing)

        assert json.loads(host.recv(1000)) == {"type": "saveable", "protocol": 1}
        assert got.saved == 1234.5


def test_a_vm_that_was_never_to_be_saved_has_no_siblings(tmp_path: Path) -> None:
    assert converse(tmp_path, line(GOOD))[0].saved is None


def test_a_rehearsal_ends_when_the_identity_comes_or_another_begins(tmp_path: Path) -> None:
    done: list[str] = []

    def begin() -> Any:
        done.append("begin")
        return SimpleNamespace(end=lambda: done.append("end"))

    with conversation() as (channel, host):
        host.sendall(line(protocol.REHEARSE) * 2 + line(GOOD))

        got = launcher.await_identity(channel, no_buttons(tmp_path), lambda: None, begin)

    assert got.name == "debian-12-1"
    assert done == ["begin", "end", "begin", "end"]


def test_a_bad_identity_ends_the_conversation(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="identity: user"):
        converse(tmp_path, line({**GOOD, "user": "no such user"}))


def test_a_vm_that_waits_shuts_down_when_its_button_is_pressed(tmp_path: Path) -> None:
    read, write = os.pipe()
    button = no_buttons(tmp_path)
    button.filenos().append(read)
    os.write(write, struct.pack("llHHi", 0, 0, 1, 116, 1))

    with conversation() as (channel, _host), pytest.raises(launcher.ButtonPressed):
        launcher.await_identity(channel, button, lambda: None, nothing)

    os.close(read)
    os.close(write)


def test_letting_go_of_the_button_or_another_key_is_no_shutdown() -> None:
    read, write = os.pipe()
    release = struct.pack("llHHi", 0, 0, 1, 116, 0)
    sync = struct.pack("llHHi", 0, 0, 0, 0, 0)
    other = struct.pack("llHHi", 0, 0, 1, 30, 1)
    os.write(write, release + sync + other)

    assert not PowerButton.is_pressed(read)

    os.close(read)
    os.close(write)


def test_only_power_buttons_are_read(tmp_path: Path) -> None:
    for event, name in {"event0": "Power Button", "event1": "AT Keyboard"}.items():
        (tmp_path / event / "device").mkdir(parents=True)
        (tmp_path / event / "device/name").write_text(f"{name}\n")

    found = {path.name for path in launcher.find_power_buttons(tmp_path)}

    assert found <= {"event0"}


def test_an_error_is_told_to_the_console_and_the_pool(capsys: pytest.CaptureFixture[str]) -> None:
    with conversation() as (channel, host):
        launcher.report(LauncherError("this image has no user nobody-here"), channel)
        told = json.loads(host.recv(4096))

    assert told["type"] == "failed"
    assert told["reason"] == "this image has no user nobody-here"
    assert "no user nobody-here" in capsys.readouterr().err


def test_an_unexpected_error_is_told_with_its_type() -> None:
    with conversation() as (channel, host):
        launcher.report(ZeroDivisionError("oh"), channel)

        assert json.loads(host.recv(4096))["reason"] == "ZeroDivisionError: oh"


def test_a_pool_that_has_hung_up_is_told_nothing() -> None:
    with conversation() as (channel, _host):
        channel.close()

        launcher.report(LauncherError("too late"), channel)

        assert not channel.is_open


# The machine.


def port(tmp_path: Path, device: str, name: str) -> None:
    (tmp_path / device).mkdir()
    (tmp_path / device / "name").write_text(f"{name}\n")


def test_the_port_is_found_by_its_name(tmp_path: Path) -> None:
    port(tmp_path, "vport1p1", "org.qemu.guest_agent.0")
    assert launcher.find_port(tmp_path) is None

    port(tmp_path, "vport1p2", "org.latent_libvirt.0")
    assert launcher.find_port(tmp_path) == Path("/dev/vport1p2")


def test_a_default_route_is_recognised(tmp_path: Path) -> None:
    table = tmp_path / "route"
    header = "Iface\tDestination\tGateway\tFlags\n"
    table.write_text(f"{header}eth0\t0002000A\t00000000\t0001\n")
    assert not launcher.has_default_route(table)

    table.write_text(f"{header}eth0\t00000000\t0202000A\t0003\n")
    assert launcher.has_default_route(table)


def test_a_master_that_listens_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        launcher.wait_for_master(*server.getsockname())


def test_a_master_that_comes_late_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

    def listen() -> None:
        with socket.create_server(address) as late:
            late.accept()[0].close()

    master = threading.Timer(0.2, listen)
    master.start()
    launcher.wait_for_master(*address)
    master.join()


def test_a_master_that_does_not_listen_is_named_with_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, number = server.getsockname()

    with pytest.raises(LauncherError, match=f"{host} port {number}: .*refused"):
        launcher.wait_for_master(host, number, deadline=0.0)


def test_a_user_that_is_not_there_is_named() -> None:
    with pytest.raises(LauncherError, match="no user nobody-here"):
        launcher.find_user("nobody-here")


def test_builds_see_an_environment_of_the_user_alone() -> None:
    root = launcher.find_user("root")

    environment = launcher.environment_of(root)

    assert environment["HOME"] == root.pw_dir
    assert set(environment) == {"HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER"}


def poll_until(value: object, deadline: float) -> tuple[object, int]:
    calls = 0

    def condition() -> object:
        nonlocal calls
        calls += 1
        return value if calls == 3 else None

    return launcher.poll_for(condition, deadline), calls


def test_polling_ends_with_the_first_result() -> None:
    assert poll_until("there", 60.0) == ("there", 3)


def test_polling_ends_at_the_deadline() -> None:
    assert poll_until("there", 0.0)[0] is None


# The worker.

WITHOUT_THE_REST = """
import sys
sys.path[:0] = {path!r}
import importlib.util
spec = importlib.util.spec_from_file_location("launcher", {launcher!r})
launcher = importlib.util.module_from_spec(spec)
sys.modules["launcher"] = launcher
spec.loader.exec_module(launcher)
module = launcher.import_worker()
print(module.Worker.__name__, launcher.worker_version(), "autobahn" in sys.modules)
print(*sorted(name for name in sys.modules if name.startswith("latent_libvirt")))
"""


def run_python(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


def test_the_launcher_needs_no_other_file_of_ours_and_no_websockets() -> None:
    assert launcher.__file__ is not None
    site = [path for path in sys.path if path.endswith("site-packages")]

    worker, ours = run_python(
        WITHOUT_THE_REST.format(path=site, launcher=os.fspath(launcher.__file__))
    )

    assert worker.startswith("Worker 4.")
    assert worker.endswith("False")
    assert ours == ""


REHEARSAL = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from latent_libvirt.guest import launcher
rehearsal = launcher.Rehearsal(launcher.import_worker(), stages=Path({stages!r}))
print({before_the_end})
rehearsal.end()
print([*Path({stages!r}).iterdir()])
"""


@pytest.mark.parametrize(
    ("before_the_end", "said"), [("rehearsal.wait()", "True"), ("None", "None")]
)
def test_nothing_remains_of_a_rehearsal_whether_it_is_over_or_not(
    tmp_path: Path, before_the_end: str, said: str
) -> None:
    script = REHEARSAL.format(path=sys.path, stages=str(tmp_path), before_the_end=before_the_end)

    assert run_python(script) == [said, "[]"]


def test_a_launcher_is_known_by_its_content(tmp_path: Path) -> None:
    for name in launcher.LAUNCHER_FILES:
        (tmp_path / name).write_bytes(Path(launcher.__file__).with_name(name).read_bytes())
    copied = load(tmp_path / "launcher.py")
    versions = [copied.launcher_version()]
    for name in launcher.LAUNCHER_FILES:
        changed = tmp_path / name
        changed.write_bytes(changed.read_bytes() + b"\n")
        versions.append(copied.launcher_version())

    assert versions[0] == launcher.launcher_version()
    assert len(set(versions)) == len(versions)


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("copied_launcher", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def log_events(filter_: Callable[[dict[str, Any]], Any], *texts: str) -> list[bool]:
    from twisted.logger import LogLevel, PredicateResult  # noqa: PLC0415

    events = ({"log_format": text, "log_level": LogLevel.info} for text in texts)
    return [filter_(event) != PredicateResult.no for event in events]


def test_the_console_hears_the_worker_until_it_is_attached() -> None:
    import twisted.logger  # noqa: PLC0415

    filter_ = launcher._UntilAttached(twisted.logger)

    assert log_events(filter_, "Starting", "Connected to buildmaster; ready", "a command") == [
        True,
        True,
        False,
    ]


# What a VM shared with others.


def test_a_machine_id_is_written_wherever_there_was_one_and_is_never_the_same(
    tmp_path: Path,
) -> None:
    for directory in ("etc", "run", "var/lib"):
        (tmp_path / directory).mkdir(parents=True)
    written = tmp_path / "etc/machine-id", tmp_path / "run/machine-id"
    ids = []
    for path in written:
        path.write_text("old\n")
    for _ in range(2):
        launcher.renew_machine_id(tmp_path)
        ids.append({path.read_text() for path in written})

    assert [len(each) for each in ids] == [1, 1]
    assert ids[0] != ids[1]
    assert not (tmp_path / "var/lib/dbus").exists()


@pytest.mark.parametrize("saved", [None, 1763999000.0])
def test_a_vm_that_boots_has_a_machine_id_of_its_own_like_one_that_is_resumed(
    saved: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("add_entropy", "set_hostname", "renew_machine_id", "renew_ssh_host_keys"):
        monkeypatch.setattr(launcher, name, lambda *_, name=name: done.append(name))
    monkeypatch.setattr(time, "clock_settime", lambda *_: None)
    monkeypatch.setattr(launcher, "_RENEW_ADDRESS", Path("/nonexistent"))

    launcher.apply(replace(launcher.parse_identity(GOOD), saved=saved))

    assert done[:3] == ["add_entropy", "set_hostname", "renew_machine_id"]
    assert ("renew_ssh_host_keys" in done) == (saved is not None)


def test_a_random_uuid_is_one_of_version_4() -> None:
    for _ in range(50):
        number = uuid.UUID(launcher.random_uuid())
        assert (number.version, number.variant) == (4, uuid.RFC_4122)


@pytest.mark.parametrize(
    ("lease", "asleep", "due"),
    [
        ("3600", 1000.0, False),
        ("3600", 1801.0, True),
        ("3600", -5.0, True),
        ("0", 0.0, True),
        ("soon", 1.0, True),
        (None, 1.0, True),
    ],
)
def test_an_address_is_renewed_when_half_of_its_lease_is_over(
    tmp_path: Path, lease: str | None, asleep: float, *, due: bool
) -> None:
    path = tmp_path / "lease-seconds"
    if lease is not None:
        path.write_text(f"{lease}\n")

    assert launcher.is_due(asleep, path) == due


def test_ssh_host_keys_that_were_saved_go_and_new_ones_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []
    monkeypatch.setattr(launcher, "run", lambda command, **_: commands.append(command[0]))
    launcher.renew_ssh_host_keys(tmp_path)
    assert commands == []

    for name in ("ssh_host_rsa_key", "ssh_host_rsa_key.pub", "sshd_config"):
        (tmp_path / name).touch()
    launcher.renew_ssh_host_keys(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["sshd_config"]
    assert commands == ["ssh-keygen", "systemctl"]


def test_a_program_that_the_image_has_not_is_got_over(capsys: pytest.CaptureFixture[str]) -> None:
    launcher.run(["no-such-program"], seconds=1)

    assert "no-such-program" in capsys.readouterr().err
