# SPDX-License-Identifier: GPL-2.0-only
"""The launcher under every Python that a guest may have, with one directory of packages for all."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

import pythons
from latent_libvirt.images import payload, recipes

INTERPRETERS = pythons.found()

REHEARSE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:2]
from launcher.rehearsal import Rehearsal
from launcher.worker import import_worker
print(Rehearsal(import_worker(), stages=Path(sys.argv[2])).wait())
print(sys.modules["zope.interface"].__file__)
"""


PROGRAM = """
import importlib.util
from . import errors
def main():
    print(__name__, errors.__name__, importlib.util.find_spec("errors") is not None)
    return 3
"""


@pytest.fixture(scope="session")
def home(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory like the one in an imported image."""
    home = tmp_path_factory.mktemp("home")
    for name, file in recipes.LAUNCHER.items():
        (home / name).parent.mkdir(exist_ok=True)
        shutil.copy(file, home / name)
    payload.bring_worker(cache / "wheels", home / "site-packages")
    return home


@pytest.mark.parametrize("version", INTERPRETERS)
def test_the_launcher_rehearses_with_the_packages_of_imported_images(
    home: Path, tmp_path: Path, version: str
) -> None:
    arguments = [str(home), str(tmp_path)]
    command = [INTERPRETERS[version], "-I", "-S", "-B", "-c", REHEARSE, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr
    verdict, interface = done.stdout.split()
    assert verdict == "True", done.stderr
    assert Path(interface).is_relative_to(home)


@pytest.mark.parametrize("version", INTERPRETERS)
def test_python_runs_the_directory_with_no_module_of_it_at_the_top(
    tmp_path: Path, version: str
) -> None:
    home = tmp_path / "launcher"
    shutil.copytree(Path(recipes.LAUNCHER["launcher/__main__.py"]).parent, home)
    (home / "life.py").write_text(PROGRAM)

    command = [INTERPRETERS[version], "-I", "-S", str(home)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)

    assert done.returncode == 3, done.stderr
    assert done.stdout.split() == ["launcher.life", "launcher.errors", "False"]


def test_the_oldest_python_can_read_every_file_of_the_launcher() -> None:
    for file in recipes.LAUNCHER.values():
        ast.parse(file.read_text(), feature_version=(3, 8))
