# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt stress``: a load on masters, a report with a verdict, and reports compared."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from latent_libvirt.cli.terminals import early_interrupt
from latent_libvirt.config.suggestions import suggestion
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import as_text
from latent_libvirt.process import interrupts
from latent_libvirt.stress.ending import Ending
from latent_libvirt.stress.profile import PROFILES, aimed_at, load

if TYPE_CHECKING:
    from latent_libvirt.stress.profile.models import Profile

EXTRA: Final = ("autobahn", "buildbot_worker", "buildbot_www", "psycopg2")
"""Modules of the extra ``stress``."""

RUN: Final = "run"


class Verbs(click.Group):
    """The verbs, of which ``run`` may be left out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what is no verb for the arguments of ``run``."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [RUN, *args]
        return super().parse_args(ctx, args)


@click.group(cls=Verbs, short_help="Put a load on masters, and find the bottleneck.")
def stress() -> None:
    """Put a load on masters, report which resource is saturated, and compare reports.

    `run` may be left out: `latent-libvirt stress small --report report`.
    """


@stress.command
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
    help="Directory for crossbar, locust and images, which are made the first time.  [default: "
    "latent-libvirt/stress in your cache directory]",
)
@click.option(
    "--url",
    help="URL of the web UI of a deployment that runs already, like http://127.0.0.1:8010/. The "
    "load is put on it.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with a token of its job API, which only its owner may read.",
)
def run(
    profile: str, directory: Path, cache: Path | None, url: str | None, token_file: Path | None
) -> None:
    """Run the load that PROFILE describes, and report which resource is saturated.

    PROFILE is a YAML file, or the name of one that comes with this package: small, mass-rebuild,
    steady, day, bursts, real, plan-costs, plan-check.

    The command starts PostgreSQL, a message router, and one master or several, on loopback alone.
    It ends all of that at the end, and on Ctrl-C. With --url, or if the profile has a target, it
    starts none of them. Its jobs there are cancelled at the end unless they have ended.

    The last line of the output is the summary as one line of JSON.
    """
    wanted = aimed_at(load(_path(profile)), url, token_file)
    _refuse_used(directory)
    _check_extra(wanted)
    with early_interrupt.ended_at_once():
        from latent_libvirt.stress.report.summary import report  # noqa: PLC0415 - loads jinja2
        from latent_libvirt.stress.report.verdict import NOBODY  # noqa: PLC0415 - as above
        from latent_libvirt.stress.run import run as run_profile  # noqa: PLC0415 - SQLAlchemy

    cache = cache or default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    _to_the_end(lambda: run_profile(wanted, directory, cache=cache, say=_say), directory)
    summary = report(directory)
    _say(summary["verdict"])
    _say(f"The report is {summary['report']}")
    click.echo(json.dumps(summary))
    if summary["saturated"] == NOBODY:
        sys.exit(1)


@stress.command
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), help="File for the comparison as a page.")
def compare(before: Path, after: Path, html: Path | None) -> None:
    """Compare the reports in the directories BEFORE and AFTER: what is better, what is worse.

    A figure has changed if its difference is larger than the noise of both runs.
    """
    from latent_libvirt.stress.report.comparison import compare as compare_runs  # noqa: PLC0415
    from latent_libvirt.stress.report.comparison_page import page, text  # noqa: PLC0415

    found = compare_runs(before, after)
    click.echo(text(found))
    if html is not None:
        html.write_text(page(found), encoding="utf-8")


@stress.command
@click.argument("directory", metavar="REPORT", type=click.Path(path_type=Path))
@click.option("--url", help="URL of the web UI, if not that of the run.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the token of the run, if it is not that of the profile.",
)
def cancel(directory: Path, url: str | None, token_file: Path | None) -> None:
    """Cancel the jobs of a run that was killed, on the deployment that was its target.

    REPORT is the directory of its report. A run that ends otherwise cancels them itself.
    """
    from latent_libvirt.stress.target import cancelling  # noqa: PLC0415 - as above

    left = cancelling.cancel(directory, url=url, token_file=token_file)
    if left:
        raise ConfigurationError(
            f"{len(left)} jobs could not be cancelled", details="\n".join(left[:5])
        )
    click.echo("No job of that run is left.")


def default_cache() -> Path:
    """Return the directory of what takes long to install."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "latent-libvirt/stress"


def _path(profile: str) -> Path:
    """Return the file of a profile: one that is shipped, if it has no suffix and no slash.

    :raises ConfigurationError: there is none of that name.
    """
    shipped = {path.stem: path for path in sorted(PROFILES.glob("*.yaml"))}
    is_a_name = profile.isascii() and profile.replace("-", "").isalnum()
    if is_a_name and profile not in shipped and not Path(profile).exists():
        raise ConfigurationError(
            f"there is no profile {profile}",
            details=suggestion(profile, shipped, kind="profiles"),
            resolution="Name one of these, or give the path of a YAML file.",
        )
    return shipped.get(profile, Path(profile))


def _refuse_used(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise ConfigurationError(
            f"{directory} is no directory", resolution="Give a directory that does not exist."
        )
    if directory.exists() and any(directory.iterdir()):
        raise ConfigurationError(
            f"{directory} is not empty",
            details="A report and the raw data of another run may be in it.",
            resolution="Give a directory that does not exist.",
        )


def _check_extra(profile: Profile) -> None:
    """Refuse to start without the packages that only the harness needs."""
    needed = EXTRA if profile.target is None else ("psycopg2",)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"Python packages of the stress harness are not installed: {', '.join(missing)}",
            resolution="Install the extra: pip install 'latent-libvirt[stress]'",
        )


def _to_the_end(do: Callable[[], object], directory: Path) -> None:
    """Do something that a signal interrupts once; end this process if that happens.

    :param directory: of the report.
    """
    ending = Ending()
    ending.listen()
    try:
        do()
    except KeyboardInterrupt as interrupt:
        ending.ignore()
        kept = f"What was measured is in {directory}." if directory.exists() else ""
        _say(f"Ended on request. Nothing is left running. {kept}".rstrip())
        sys.exit(interrupts.status_after(interrupt))


def _say(line: Any) -> None:
    click.echo(as_text(line), err=True)
