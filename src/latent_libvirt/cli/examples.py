# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt examples``: files to copy from, for masters, units, alerts and a dashboard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

import latent_libvirt
from latent_libvirt.config.schema import modeline, schema_text
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import display_name
from latent_libvirt.process import new_files

_PACKAGE: Final = Path(latent_libvirt.__file__).parent
_INSTALLED: Final = _PACKAGE / "examples"
_SOURCE_TREE: Final = _PACKAGE.parents[1] / "deploy"
_SCHEMA: Final = "pool.schema.json"

FILES: Final = {
    "pool.example.yaml": "a pool.yaml with every section",
    "pool.schema.json": "the schema from which editors complete a pool.yaml",
    "single/master.cfg": "a whole master",
    "single/pool.yaml": "its pool",
    "single/buildbot-master.service": "its systemd unit",
    "demo/master.cfg": "the master of make demo, with real work",
    "demo/pool.yaml": "its pool",
    "multimaster/scheduler.cfg": "the scheduler of several masters",
    "multimaster/interface.cfg": "a master that workers connect to",
    "multimaster/ci.py": "what both have in common",
    "multimaster/ci.env": "their environment",
    "multimaster/pool.yaml": "the pool of an interface master",
    "multimaster/crossbar.json": "the router",
    "multimaster/crossbar-requirements.txt": "what pip installs for the router",
    "multimaster/systemd/buildbot-master@.service": "a unit for each master",
    "multimaster/systemd/crossbar.service": "a unit for the router",
    "prometheus/latent-libvirt.rules.yml": "alerts for Prometheus",
    "grafana/latent-libvirt.json": "a dashboard for Grafana",
}
"""The purpose of each file, by its path."""

_OF_PACKAGE: Final = {
    "multimaster/crossbar-requirements.txt": _PACKAGE / "sandbox/crossbar-requirements.txt"
}
"""Files that the package itself uses."""


@click.command(short_help="Write example files into a directory.")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
def examples(directory: Path) -> None:
    """Write masters, pools, units, alerts and a dashboard into DIRECTORY, to copy from.

    Nothing is overwritten. If one of the files is there, none is written.
    """
    there = [name for name in FILES if os.path.lexists(directory / name)]
    if there:
        raise ConfigurationError(
            f"{display_name(directory / there[0])} is there already",
            resolution="Name another directory, or move that one away. Nothing was written.",
        )
    with new_files.written({directory / name: content(name) for name in FILES}):
        pass
    for name, purpose in FILES.items():
        click.echo(f"{display_name(directory / name)}: {purpose}")


def content(name: str) -> str:
    """Return the text of an example, which leads editors to the schema that is written with it."""
    if name == _SCHEMA:
        return schema_text()
    text = source(name).read_text(encoding="utf-8")
    if not text.startswith(modeline("")):
        return text
    _in_the_source_tree, _, rest = text.partition("\n")
    return f"{modeline(os.path.relpath(_SCHEMA, Path(name).parent))}\n{rest}"


def source(name: str) -> Path:
    """Return the path of an example, in the package or in the source tree."""
    directory = _INSTALLED if _INSTALLED.is_dir() else _SOURCE_TREE
    return _OF_PACKAGE.get(name, directory / name)
