# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt stress``: a load on masters that it starts, and a report with a verdict."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.stress.profile import PROFILES, load

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it."""

EXTRA: Final = ("autobahn", "buildbot_worker", "buildbot_www", "psycopg2")
"""Modules of the extra ``stress``."""


@click.command(short_help="Put a load on masters, and find the bottleneck.")
@click.argument("profile")
@click.option(
    "--report",
    "directory",
    required=True,
    type=click.Path(path_type=Path),
    help="Directory for the report and its raw data. It must not exist, or be empty.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Directory for crossbar and locust, which are installed the first time.  [default: "
    "latent-libvirt/stress in your cache directory]",
)
def stress(profile: str, directory: Path, cache: Path | None) -> None:
    """Run the load that PROFILE describes, and report which resource is saturated.

    PROFILE is a YAML file, or the name of one that comes with this package: small, mass-rebuild.

    The command starts PostgreSQL, a message router, and one master or several, on loopback alone.
    Their VMs are simulated. It ends all of that at the end, and on Ctrl-C. The last line of its
    output is the summary as one line of JSON.
    """
    wanted = load(_path(profile))
    _refuse_used(directory)
    _check_extra()
    from latent_libvirt.stress.report.summary import report  # noqa: PLC0415 - loads jinja2
    from latent_libvirt.stress.run import run  # noqa: PLC0415 - loads SQLAlchemy

    cache = cache or default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    _end_once()
    try:
        run(wanted, directory, cache=cache, say=_say)
    except KeyboardInterrupt:
        _say("Ended on request. Nothing is left running; the raw data is kept.")
        sys.exit(INTERRUPTED)
    summary = report(directory)
    _say(summary["verdict"])
    _say(f"The report is {summary['report']}")
    click.echo(json.dumps(summary))


def default_cache() -> Path:
    """Return the directory of what takes long to install."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "latent-libvirt/stress"


def _path(profile: str) -> Path:
    """Return the file of a profile: one that is shipped, if it has no suffix and no slash."""
    shipped = PROFILES / f"{profile}.yaml"
    return shipped if shipped.parent == PROFILES and shipped.exists() else Path(profile)


def _refuse_used(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()):
        raise ConfigurationError(
            f"{directory} is not empty",
            details="A report and the raw data of another run may be in it.",
            resolution="Give a directory that does not exist.",
        )


def _check_extra() -> None:
    """Refuse to start without the packages that only the harness needs."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"Python packages of the stress harness are not installed: {', '.join(missing)}",
            resolution="Install the extra: pip install 'latent-libvirt[stress]'",
        )


def _end_once() -> None:
    """Let Ctrl-C and SIGTERM end the run; what is started then ends in good order."""

    def end(_number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, end)


def _say(line: Any) -> None:
    click.echo(line, err=True)
