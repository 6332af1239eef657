# SPDX-License-Identifier: GPL-2.0-only
"""The command as a process: what it imports, and where its output goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_what_takes_long_to_import_is_imported_where_an_interrupt_is_no_traceback() -> None:
    """Ctrl-C is told in a word from the moment that click has begun."""
    code = "import sys, latent_libvirt.cli; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not {"pydantic", "libvirt", "twisted", "buildbot"} & set(ended.stdout.split())


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["check", "--help"], ["schema"]])
def test_a_full_disk_is_told_in_a_sentence(arguments: list[str], unbuffered: str) -> None:
    command = [sys.executable, "-c", "from latent_libvirt.cli import main; main()", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment
        )

    assert (ended.returncode, ended.stderr) == (1, "Error: No space left on device\n")


def test_the_doctor_needs_no_buildbot() -> None:
    script = "import sys, latent_libvirt.cli.doctor; print('buildbot' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout == "False\n"


def test_checking_a_file_imports_neither_libvirt_nor_buildbot() -> None:
    script = (
        "import sys; from latent_libvirt.cli import main; "
        "main(['check', 'no-such-file'], standalone_mode=False)"
    )
    checked = (
        f"try:\n exec({script!r})\nexcept Exception as e: pass\n"
        "import sys; print(sorted({'libvirt', 'buildbot', 'twisted'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", checked], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("command", [["--help"], ["schema"], ["image", "--help"]])
def test_who_reads_no_further_gets_no_traceback(command: list[str]) -> None:
    program = Path(sys.executable).with_name("latent-libvirt")
    pipe = subprocess.Popen([program, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert pipe.stdout is not None
    pipe.stdout.close()
    _, told = pipe.communicate(timeout=60)

    assert b"Traceback" not in told


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_a_terminal_that_knows_few_characters_gets_escapes(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    program = Path(sys.executable).with_name("latent-libvirt")
    path = tmp_path / "ž\udcff.yaml"
    shown = subprocess.run(
        [program, "check", path],
        env=dict(os.environ) | environment,
        capture_output=True,
        check=False,
    )

    assert shown.returncode == 1
    assert b"cannot be read: No such file" in shown.stderr
    assert b"Traceback" not in shown.stderr
