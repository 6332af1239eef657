# SPDX-License-Identifier: GPL-2.0-only
"""Imports as an operator starts them, and what is there of one while it runs and after its end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import children
from buildmaster import DEADLINE
from commands import COMMAND
from latent_libvirt.sandbox import private

SUPERVISOR = str(private.SUPERVISOR)


@contextmanager
def started(*arguments: str | Path, verb: str = "import") -> Iterator[subprocess.Popen[str]]:
    """Give a running ``latent-libvirt image import``, which ends with the ``with`` block."""
    with subprocess.Popen(
        [*children.WITH_US, COMMAND, "image", verb, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def run(*arguments: str | Path, verb: str = "import") -> tuple[int, str, str]:
    """Run it to its end; return the status, and what it said."""
    with started(*arguments, verb=verb) as program:
        out, err = program.communicate(timeout=4 * DEADLINE)
    return program.returncode, out, err


def processes(output: Path) -> list[list[str]]:
    """Return the command lines of all processes that work for an import below *output*."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended since
            found.append(file.read_bytes().decode(errors="replace").split("\0"))
    return [words for words in found if any(str(output) in word for word in words)]


def sandboxes(output: Path) -> set[Path]:
    """Return the directories of the sandboxes that run for an import below *output*."""
    found = processes(output)
    places = [
        (words, place) for words in found for place, word in enumerate(words) if word == SUPERVISOR
    ]
    return {Path(words[place + 1]) for words, place in places}


def supervisor_of(sandbox: Path) -> int:
    """Return the number of the process that a sandbox ends with."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended since
            words = file.read_bytes().decode(errors="replace").split("\0")
            if SUPERVISOR in words and str(sandbox) in words and "unshare" not in words[0]:
                return int(file.parent.name)
    raise AssertionError(f"no process holds {sandbox}")


def leftovers(output: Path) -> set[str]:
    """Return what an import has left of its work, besides its lock and what it keeps on purpose."""
    return {path.name for path in output.glob("*/*") if path.parent.name != ".import"} - {"lock"}
