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
import importlib.util, sys
from pathlib import Path
specification = importlib.util.spec_from_file_location("launcher", sys.argv[1])
launcher = sys.modules["launcher"] = importlib.util.module_from_spec(specification)
specification.loader.exec_module(launcher)
print(launcher.Rehearsal(launcher.import_worker(), stages=Path(sys.argv[2])).wait())
print(sys.modules["zope.interface"].__file__)
"""


@pytest.fixture(scope="session")
def home(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory like the one in an imported image."""
    home = tmp_path_factory.mktemp("home")
    for file in recipes.LAUNCHER:
        shutil.copy(file, home)
    payload.bring_worker(cache / "wheels", home / "site-packages")
    return home


@pytest.mark.parametrize("version", INTERPRETERS)
def test_the_launcher_rehearses_with_the_packages_of_imported_images(
    home: Path, tmp_path: Path, version: str
) -> None:
    arguments = [str(home / "launcher.py"), str(tmp_path)]
    command = [INTERPRETERS[version], "-I", "-S", "-B", "-c", REHEARSE, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr
    verdict, interface = done.stdout.split()
    assert verdict == "True", done.stderr
    assert Path(interface).is_relative_to(home)


def test_the_oldest_python_can_read_every_file_of_the_launcher() -> None:
    for file in recipes.LAUNCHER:
        ast.parse(file.read_text(), feature_version=(3, 8))
