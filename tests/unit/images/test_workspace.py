# SPDX-License-Identifier: GPL-2.0-only
"""Workspace of an image: what a killed build has left in the temporary directory goes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from latent_libvirt.images import workspace
from latent_libvirt.images.progress import Reporter

# In a process that nothing can clean up after.
KILLED = """
import os, signal, sys
from pathlib import Path
from latent_libvirt.images import workspace

with workspace.temporary(Path(sys.argv[1])) as place:
    Path(place, "half a package").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""

# Mounts what somebody has below what the killed one has left, and builds.
NEXT = """
import subprocess, sys
from pathlib import Path
from latent_libvirt.images import workspace

subprocess.run(["mount", "--bind", *sys.argv[2:]], check=True)
with workspace.temporary(Path(sys.argv[1])):
    pass
"""

# Its program has mounted what somebody has, and was killed.
FAILING = """
import subprocess, sys
from pathlib import Path
from latent_libvirt.images import workspace

with workspace.temporary(Path(sys.argv[1])) as place:
    point = place / "a proc"
    point.mkdir()
    subprocess.run(["mount", "--bind", sys.argv[2], point], check=True)
"""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory that stands for /tmp."""
    shared = tmp_path / "tmp"
    shared.mkdir()
    monkeypatch.setenv("TMPDIR", str(shared))
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    return shared


def test_what_a_killed_build_has_left_goes_with_the_next_build_of_the_same_image(
    tmp_path: Path, shared: Path
) -> None:
    for name in ("one", "other"):
        subprocess.run([sys.executable, "-c", KILLED, tmp_path / name], check=False)
    assert len(list(shared.iterdir())) == 2

    with workspace.temporary(tmp_path / "one") as temporary:
        assert list(temporary.iterdir()) == []

    (others,) = shared.iterdir()
    assert (others / "half a package").exists()


def test_what_a_killed_build_has_mounted_is_unmounted_and_nothing_in_it_is_deleted(
    tmp_path: Path, shared: Path
) -> None:
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "one"], check=False)
    (left,) = shared.iterdir()
    elsewhere, point = tmp_path / "elsewhere", left / "mmdebstrap.1/a proc"
    for directory in (elsewhere, point):
        directory.mkdir(parents=True)
    (elsewhere / "of somebody").touch()

    in_a_namespace(NEXT, tmp_path / "one", elsewhere, point)

    assert list(shared.iterdir()) == []
    assert [each.name for each in elsewhere.iterdir()] == ["of somebody"]


def test_what_a_failed_build_has_mounted_is_unmounted_as_it_ends(
    tmp_path: Path, shared: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "of somebody").touch()

    in_a_namespace(FAILING, tmp_path / "one", elsewhere)

    assert list(shared.iterdir()) == []
    assert [each.name for each in elsewhere.iterdir()] == ["of somebody"]


def in_a_namespace(program: str, *arguments: Path) -> None:
    """Run Python where mounts end with it, and where anybody may make them, as mmdebstrap does."""
    alone = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    subprocess.run([*alone, sys.executable, "-c", program, *map(str, arguments)], check=True)


def test_a_directory_in_which_no_image_was_made_goes_with_its_lock(tmp_path: Path) -> None:
    directory = tmp_path / "images/one"
    with pytest.raises(ZeroDivisionError), workspace.locked(directory, Reporter()):
        raise ZeroDivisionError

    assert not directory.exists()


def test_a_directory_with_anything_in_it_stays(tmp_path: Path) -> None:
    with workspace.locked(tmp_path, Reporter()):
        (tmp_path / "cache").mkdir()

    assert {path.name for path in tmp_path.iterdir()} == {"cache", "lock"}


class Waiting(Reporter):
    """Hears that a lock is waited for."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def stage(self, text: str) -> None:
        """Note it."""
        self.begun.set()


def test_one_that_waited_for_a_lock_that_was_removed_takes_the_next_one(tmp_path: Path) -> None:
    directory = tmp_path / "one"
    waiting = Waiting()
    took, done = threading.Event(), threading.Event()

    def wait() -> None:
        with workspace.locked(directory, waiting):
            took.set()
            done.wait(60)

    with workspace.locked(directory, Reporter()):
        second = threading.Thread(target=wait)
        second.start()
        assert waiting.begun.wait(60)
        assert not took.is_set()

    assert took.wait(60)
    third = Waiting()

    def follow() -> None:
        with workspace.locked(directory, third):
            pass

    last = threading.Thread(target=follow)
    last.start()
    assert third.begun.wait(60)  # the lock of the second is the one that is there
    done.set()
    second.join(60)
    last.join(60)
    assert not last.is_alive()


def test_many_that_find_nothing_to_do_are_never_in_a_directory_at_once(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(100):
            with workspace.locked(tmp_path / "one", Reporter()):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)

    assert len(most) == 400
    assert max(most) == 1
    assert not (tmp_path / "one").exists()


def _touch(path: Path) -> None:
    path.touch()


def _lead_nowhere(path: Path) -> None:
    path.symlink_to("nowhere/at/all")


@pytest.mark.parametrize("make", [_touch, _lead_nowhere])
def test_what_is_no_directory_is_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "one")

    with pytest.raises(OSError, match="one"), workspace.locked(tmp_path / "one", Reporter()):
        pass
