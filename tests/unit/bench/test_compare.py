# SPDX-License-Identifier: GPL-2.0-only
"""``make bench-compare``: its table, and how it finds what a rival has on the machine."""

from __future__ import annotations

import importlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

BENCH = Path(__file__).parents[3] / "bench"
LATER = 60.0  # seconds; reached only by a test that fails
SETUP = """\
cat <<EOF > "$root/etc/init.d/autopkgtest"
EOF
cat <<EOF > "$root/etc/systemd/system/autopkgtest@.service"
[Unit]
Description=autopkgtest root shell on %I

[Service]
ExecStart=/bin/sh
EOF
ln -sf /dev/null "$root"
"""


@pytest.fixture(autouse=True)
def _bench_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])


@pytest.fixture
def compare() -> ModuleType:
    return importlib.import_module("compare")


@pytest.fixture
def remains() -> ModuleType:
    return importlib.import_module("remains")


@pytest.fixture
def gate() -> Iterator[object]:
    with importlib.import_module("gate").opened() as opened:
        yield opened


def test_the_table_has_medians_their_spread_and_what_is_left(compare: ModuleType) -> None:
    found = {
        "resumed": compare.Figures(
            first_output=[1.0, 3.0, 2.0],
            disk=[0.25],
            memory=[200.0],
            per_minute=[60.0, 50.0],
            cpu=[0.5],
            kept=148.2,
            left={"processes": 1, "domains": 1, "files": 0},
            left_after_restart={"processes": 0, "domains": 0, "files": 0},
        ),
        "debvm": compare.Figures(first_output=[30.0], left={"processes": 2, "files": 1}),
    }
    _headings, _rule, ours, debvm = compare.table(found)

    assert ours == (
        "| latent_libvirt, resumed | 2.00 (1.00-3.00) | 55.0 (50.0-60.0) | 0.2 | 148 | 200 | 0.50 "
        "| 1 process, 1 domain | nothing |"
    )
    assert debvm == "| debvm-run | 30.00 | - | - | 0 | - | - | 2 processes, 1 file | - |"


def test_the_line_of_json_has_every_figure_of_every_rival(compare: ModuleType) -> None:
    options = compare.Options(rounds=1, jobs=2, vms=1, rivals=["bare"])
    found = {"bare": compare.Figures(first_output=[0.12345], left={"processes": 1})}
    line = json.loads(json.dumps(compare.summary(found, options)))

    assert line["rounds"] == 1
    assert line["rivals"]["bare"]["first_output"] == [0.123]
    assert line["rivals"]["bare"]["left"] == {"processes": 1}
    assert line["rivals"]["bare"]["left_after_restart"] is None


@pytest.mark.parametrize("text", ["0", "-1", "many", ""])
def test_a_count_below_one_is_refused_before_anything_starts(
    compare: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", f"--rounds={text}"])
    with pytest.raises(SystemExit):
        compare.arguments()
    assert "is not a whole number from 1 on" in capsys.readouterr().err


@contextmanager
def waiting(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that runs, and is killed with the block."""
    program = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # its command line is what it stays from here on
        try:
            yield process
        finally:
            process.kill()


def test_a_process_of_a_run_is_one_whose_command_line_has_the_runs_directory(
    remains: ModuleType, tmp_path: Path
) -> None:
    with waiting() as other, waiting(str(tmp_path / "disk")) as process:
        assert list(remains.processes(tmp_path)) == [process.pid]
        assert remains.vms(tmp_path) == []
        remains.Remains(frozenset(remains.processes(tmp_path))).remove()
        assert process.wait(LATER) == -9
        assert other.poll() is None


def test_what_is_left_is_what_has_been_added_and_can_be_removed(
    remains: ModuleType, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.touch()
    before = remains.Remains(files=frozenset({old}))
    new.touch()
    left = remains.Remains(domains=frozenset({("vm", 1)}), files=frozenset({old, new})) - before

    assert left.counts() == {"processes": 0, "domains": 1, "files": 1}
    left.remove()
    assert sorted(tmp_path.iterdir()) == [old]


def test_the_disk_of_a_vm_includes_a_file_that_it_holds_open_after_its_deletion(
    remains: ModuleType, tmp_path: Path
) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.write_bytes(bytes(range(256)) * 256)
    of_file = remains.disk([there, tmp_path / "missing"], [])
    script = "import os, sys; os.unlink(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with gone.open("wb") as file:
        file.write(bytes(range(256)) * 512)
        file.flush()
        with subprocess.Popen(
            [sys.executable, "-c", script, str(gone)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[file.fileno()],
        ) as process:
            assert process.stdout
            process.stdout.readline()
            in_all = remains.disk([there], [process.pid])
            process.kill()

    assert 2**16 <= of_file < in_all
    assert in_all - of_file >= 2**17


def test_a_job_is_released_when_the_gate_lets_it_go(gate: object) -> None:
    job = ["bash", "-c", gate.job().replace("10.0.2.2", "127.0.0.1")]  # type: ignore[attr-defined]
    before = time.monotonic()
    with subprocess.Popen(job) as process:
        arrival = gate.arrival(LATER)  # type: ignore[attr-defined]
        assert before < arrival.at <= time.monotonic()
        assert process.poll() is None
        arrival.release()
        assert process.wait(LATER) == 0


def test_the_gate_does_not_count_a_connection_without_output(gate: object) -> None:
    address = ("127.0.0.1", int(gate.job().partition("10.0.2.2/")[2].split()[0]))  # type: ignore[attr-defined]
    socket.create_connection(address).close()
    with pytest.raises(TimeoutError, match="no job showed any output"):
        gate.arrival(0.2)  # type: ignore[attr-defined]


def test_a_rival_that_fails_ends_the_wait_for_its_job(gate: object) -> None:
    gate.fail(RuntimeError("it did not boot"))  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="it did not boot"):
        gate.arrival(LATER)  # type: ignore[attr-defined]


def test_autopkgtests_shell_is_the_unit_that_its_own_script_installs() -> None:
    unit = importlib.import_module("peers").shell_unit(SETUP)
    assert unit.startswith("[Unit]\nDescription=autopkgtest root shell")
    assert unit.endswith("ExecStart=/bin/sh\n")


class Failing:
    """A rival that fails in a burst: a real one does so only on a busy machine."""

    def request(self) -> None:
        raise RuntimeError("it did not boot\nand said why")


def test_a_rival_that_fails_is_left_out_and_the_others_run_on(
    compare: ModuleType, gate: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "remains", lambda *_: compare.Remains())
    ended: list[str] = []
    measured: list[str] = []
    options = compare.Options(rounds=2, jobs=1, vms=1, rivals=["debvm", "bare"])
    bench = SimpleNamespace(
        directory=None, lab=None, volumes=tuple, gate=gate, vms=1, wait_for_rest=lambda: None
    )

    def made(session: object, name: str) -> Callable[[], AbstractContextManager[tuple[object]]]:
        @contextmanager
        def make() -> Iterator[tuple[object]]:
            yield (session,)
            ended.append(name)

        return make

    def measure(session: Failing, _figures: object) -> None:
        if isinstance(session, Failing):
            session.request()
        measured.append("bare")

    with ExitStack() as stack:
        run = compare.Run(bench, options, stack)
        run._enter(made(Failing(), "debvm"), "debvm")
        run._enter(made(object(), "bare"), "bare")
        gate.fail(RuntimeError("too late"))  # type: ignore[attr-defined]
        for what in ("round 1", "round 2"):
            run._measure("debvm", what, measure)
            run._measure("bare", what, measure)
        assert ended == ["debvm"]

    assert run.failed == {"debvm": "it did not boot"}
    assert measured == ["bare", "bare"]
    assert ended == ["debvm", "bare"]
    assert "debvm-run (left out)" in "\n".join(compare.table(run.found, run.failed))
    assert compare.summary(run.found, options, run.failed)["failed"] == run.failed
    with pytest.raises(TimeoutError):
        gate.arrival(0.1)  # type: ignore[attr-defined]
