# SPDX-License-Identifier: GPL-2.0-only
"""Programs that a build runs: heard, judged, and ended with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import programs
from latent_libvirt.images.programs import BuildError, output_of, program, require, run

SHELL = ["sh", "-c"]


def test_every_line_is_heard() -> None:
    heard: list[str] = []

    run([*SHELL, "echo one; echo two >&2"], heard=heard.append)

    assert sorted(heard) == ["one", "two"]


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(BuildError, match="sh failed with status 3") as caught:
        run([*SHELL, "seq 100; echo 'no space left'; exit 3"])

    details = (caught.value.details or "").splitlines()
    assert details[-1] == "no space left"
    assert "1" not in details


def test_output_is_taken_only_from_a_program_that_succeeds() -> None:
    assert output_of([*SHELL, "echo good"]) == "good\n"

    with pytest.raises(BuildError, match="sh failed") as caught:
        output_of([*SHELL, "echo half; echo why >&2; false"])
    assert caught.value.details == "why"


def test_the_environment_is_ours_or_the_one_that_is_given() -> None:
    heard: list[str] = []

    run([*SHELL, 'echo "${PATH:+there}"'], heard=heard.append)
    run([*SHELL, 'echo "$EXTRA" "${HOME:-gone}"'], environment={"EXTRA": "x"}, heard=heard.append)

    assert heard == ["there", "x gone"]


def test_a_fixed_environment_has_nothing_of_ours_that_files_could_depend_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        os,
        "environ",
        {"PATH": "/bin", "TAR_OPTIONS": "-v", "LANG": "de_DE", "HTTPS_PROXY": "a", "TZ": "here"},
    )

    assert programs.fixed_environment(SIZE="1k") == {
        "PATH": "/bin",
        "HTTPS_PROXY": "a",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SIZE": "1k",
    }


def test_files_of_a_program_have_the_same_modes_for_everybody(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        run([*SHELL, f"touch {tmp_path}/file"])
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_program_that_is_not_installed_is_named_with_its_package() -> None:
    with pytest.raises(ConfigurationError, match="no-such-program") as caught:
        program("no-such-program", package="some-package")

    assert caught.value.resolution == "Install it: apt-get install some-package"


def test_programs_for_administrators_are_found_without_them_on_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    assert program("mke2fs", package="e2fsprogs").endswith("/sbin/mke2fs")


@pytest.mark.parametrize(
    "child",
    [
        "exec 3>{fifo}; echo started; sleep 1000",
        "trap '' TERM; exec 3>{fifo}; echo started; while :; do sleep 1000; done",
    ],
    ids=["that ends on request", "that ignores requests"],
)
def test_an_interrupt_of_us_ends_the_program_and_what_it_started(
    tmp_path: Path, child: str
) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([*SHELL, f"({child.format(fifo=fifo)}) & wait"], heard=interrupt)

    # The end of the pipe comes when the last of them has gone.
    os.set_blocking(reading, True)
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_what_a_program_says_may_be_no_text() -> None:
    heard: list[str] = []

    write = "import sys; sys.stdout.buffer.write(b'\\xff\\n')"
    run([sys.executable, "-c", write], heard=heard.append)

    assert heard == ["\N{REPLACEMENT CHARACTER}"]


def test_all_programs_that_are_missing_are_named_at_once_with_one_command() -> None:
    with pytest.raises(ConfigurationError) as caught:
        require({"sh": "dash", "no-such-one": "one", "no-such-two": "two three"})

    assert "no-such-one, no-such-two" in caught.value.brief
    assert caught.value.resolution == "Install them: apt-get install one two three"
    require({"sh": "dash"})
