# SPDX-License-Identifier: GPL-2.0-only
"""The built wheel, in an environment that has its dependencies and nothing else.

No network is needed. Dependencies are links to those of the tests' own environment. Only
distributions that the wheel requires are linked, so that an import of anything else fails as it
would for a user.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

NAME = "latent-libvirt"

_OFFLINE = ("--quiet", "--no-deps", "--no-index")


def build(clone: Path, directory: Path) -> Path:
    """Build the wheel of *clone* into *directory*, and return its path."""
    options = (*_OFFLINE, "--no-build-isolation", "--wheel-dir", directory)
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, clone], check=True)
    (wheel,) = directory.glob("*.whl")
    return wheel


def install(wheel: Path, environment: Path, *, extra: str) -> None:
    """Install *wheel* with its *extra* into a virtual environment that has nothing but pip.

    :raises CalledProcessError: if pip finds a requirement that is not met.
    """
    pip = environment / "bin/pip"
    subprocess.run([pip, "install", *_OFFLINE, wheel], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    link_dependencies(site, site, extra=extra)
    _write_script(environment, "buildbot")
    subprocess.run([pip, "check"], check=True, capture_output=True)


def link_dependencies(site: Path, directory: Path, *, extra: str) -> None:
    """Link all that the package in *site* requires with its *extra* into *directory*."""
    for found in _required(_installed(site), extra):
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            link = directory / top
            if not link.exists():  # distributions share directories like zope
                link.symlink_to(Path(str(found.locate_file(top))))


def _installed(site: Path) -> Distribution:
    (package,) = (found for found in distributions(path=[str(site)]) if found.name == NAME)
    return package


def _required(package: Distribution, extra: str) -> Iterator[Distribution]:
    """Yield the distributions that *package* requires, and those that they require, once each."""
    waiting, seen = [(package, extra)], set()
    while waiting:
        current, its_extra = waiting.pop()
        for requirement in map(Requirement, current.requires or ()):
            for each in requirement.extras or {""}:
                wanted = (requirement.name, each)
                if wanted not in seen and _is_meant(requirement, its_extra):
                    seen.add(wanted)
                    found = distribution(requirement.name)
                    waiting.append((found, each))
                    yield found


def _is_meant(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _write_script(environment: Path, name: str) -> None:
    """Write the program that pip would write for *name*."""
    (entry,) = distribution(name).entry_points.select(group="console_scripts", name=name)
    script = environment / "bin" / name
    lines = (
        f"#!{environment / 'bin/python'}",
        f"from {entry.module} import {entry.attr}",
        f"{entry.attr}()",
    )
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)
