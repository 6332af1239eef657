# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt init``."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from latent_libvirt.cli import init as init_module
from latent_libvirt.cli import main
from latent_libvirt.cli.proposal import system_libvirt
from latent_libvirt.config import load
from latent_libvirt.config.schema import schema_text
from latent_libvirt.errors import HostError
from latent_libvirt.host import inventory

NOBODY = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"


def init(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["init", *arguments])


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_is_for_the_libvirt_that_answers_and_is_good() -> None:
    result = init("--uri", "test:///default")
    assert result.exit_code == 0
    (host,) = load("pool.yaml").hosts.values()
    assert (host.uri, host.storage_pool) == ("test:///default", "default-pool")
    assert result.stdout.startswith("pool.yaml is written: ")
    assert "latent-libvirt image publish debian-12 --uri test:///default" in result.stdout
    assert 'Pool.from_yaml("pool.yaml")' in result.stdout


def test_what_it_writes_passes_check() -> None:
    init("fast.yaml", "--uri", "test:///default")
    assert CliRunner().invoke(main, ["check", "fast.yaml"]).exit_code == 0


def test_the_schema_that_the_file_names_is_beside_it(directory: Path) -> None:
    init("fast.yaml", "--uri", "test:///default")
    first = Path("fast.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=fast.schema.json"
    assert (directory / "fast.schema.json").read_text() == schema_text()


def test_without_any_libvirt_it_writes_placeholders_and_says_so() -> None:
    result = init("--uri", NOBODY)
    assert result.exit_code == 0
    assert "NO LIBVIRT ANSWERED" in result.stdout
    assert NOBODY in Path("pool.yaml").read_text()  # why they are placeholders
    assert "virsh -c qemu:///system pool-define-as" in result.stdout
    load("pool.yaml")


def test_a_libvirt_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "take", lambda _uri: threading.Event().wait())
    monkeypatch.setattr(init_module, "DEADLINE", 0.05)
    result = init("--uri", "qemu:///system")
    assert result.exit_code == 0
    assert "qemu:///system does not answer within 0.05 s" in Path("pool.yaml").read_text()


def test_a_libvirt_that_answers_what_nobody_expects_is_like_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inventory, "take", lambda _uri: int("many"))
    result = init("--uri", "qemu:///system")
    assert (result.exit_code, "NO LIBVIRT ANSWERED" in result.stdout) == (0, True)
    assert "qemu:///system cannot be used" in Path("pool.yaml").read_text()


@pytest.mark.parametrize("kind", ["file", "broken link"])
def test_nothing_is_ever_overwritten(directory: Path, kind: str) -> None:
    file = directory / "pool.yaml"
    if kind == "file":
        file.write_text("mine")
    else:
        file.symlink_to("nowhere")
    result = init("--uri", "test:///default")
    assert result.exit_code == 1
    assert "pool.yaml is there already" in result.stderr
    assert list(directory.iterdir()) == [file]


def test_a_schema_that_is_there_stays(directory: Path) -> None:
    (directory / "pool.schema.json").write_text("mine")
    assert init("--uri", "test:///default").exit_code == 0
    assert (directory / "pool.schema.json").read_text() == "mine"


def test_a_uri_that_cannot_be_used_leaves_no_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = inventory.take("test:///default")
    strange = inventory.Inventory("lxc:///", "a", 1, found.memory, found.pools)
    monkeypatch.setattr(inventory, "take", lambda _uri: strange)
    result = init("--uri", "lxc:///")
    assert result.exit_code == 1
    assert "hosts.a.uri: 'lxc:///' has no driver that can be used here" in result.stderr
    assert list(directory.iterdir()) == []


def test_what_cannot_be_a_new_file_is_refused_before_any_libvirt_is_asked(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(inventory, "take", asked.append)
    (directory / "room").mkdir()

    for file, why in (
        ("nowhere/pool.yaml", "there is no directory nowhere"),
        ("/dev/null", "/dev/null is a device, and no file can be written there"),
        ("room", "room is a directory, and no file can be written there"),
        ("-", "this cannot go to standard output"),
    ):
        result = init(file, "--uri", "test:///default")
        assert (result.exit_code, result.stderr.splitlines()[0]) == (1, f"Error: {why}")

    assert [*map(str, directory.iterdir()), *asked] == [str(directory / "room")]


def test_a_schema_that_cannot_be_written_leaves_no_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init_module, "schema_text", lambda: "half \udcff")
    assert init("--uri", "test:///default").exit_code == 1
    assert list(directory.iterdir()) == []


def test_root_has_no_session_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert init_module._local_uris() == ("qemu:///system",)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert init_module._local_uris() == ("qemu:///system", "qemu:///session")


@pytest.fixture
def session_only(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a user in to the session alone; return the socket of the system's libvirt.

    That this user is not let in needs a libvirtd of the system, and another user than root.
    """
    found = inventory.take("test:///default")
    session = inventory.Inventory("qemu:///session", "a", 1, found.memory, found.pools)

    def take(uri: str) -> inventory.Inventory:
        if uri == "qemu:///session":
            return session
        raise HostError("host could not be reached", details="Permission denied")

    socket = directory / "libvirt-sock"
    monkeypatch.setattr(inventory, "take", take)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(system_libvirt, "SOCKETS", (socket,))
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    return socket


def test_who_is_not_let_in_to_the_systems_libvirt_is_told_what_is_missing(
    session_only: Path,
) -> None:
    session_only.touch(mode=0o600)
    result = init()

    assert result.exit_code == 0
    assert "qemu:///system is there, too, and did not let anna in (Permission denied)" in (
        result.stdout
    )
    assert "sudo usermod --append --groups libvirt anna\n" in result.stdout
    (host,) = load("pool.yaml").hosts.values()
    assert host.uri == "qemu:///session"


def test_who_is_in_the_group_but_not_in_this_login_is_told_to_log_in_again(
    session_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_only.touch(mode=0o600)
    group = SimpleNamespace(gr_gid=4242, gr_mem=["anna"])
    monkeypatch.setattr("grp.getgrnam", lambda _name: group)

    told = init().stdout
    assert "anna is in group libvirt, but not\nyet in this login. Log in again" in told
    assert "usermod" not in told


def test_a_libvirt_of_the_system_that_does_not_answer_is_named_with_what_to_do(
    session_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file or directory"
    silent = HostError("qemu:///system cannot be used", details=why)
    take = inventory.take

    def answer(uri: str) -> inventory.Inventory:
        if uri == system_libvirt.URI:
            raise silent
        return take(uri)

    monkeypatch.setattr(inventory, "take", answer)
    told = init("absent.yaml").stdout
    assert f"qemu:///system did not answer ({why})" in told
    assert "so qemu:///session was taken" in told
    assert "sudo systemctl start libvirtd\nThen run: latent-libvirt init NEW.yaml" in told

    session_only.touch()
    assert "sudo systemctl restart libvirtd\n" in init("deaf.yaml").stdout
