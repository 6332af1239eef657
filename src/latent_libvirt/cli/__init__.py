# SPDX-License-Identifier: GPL-2.0-only
"""The command ``latent-libvirt``: its group of commands, and how their errors are shown.

Each command is a module of its own here, imported when it is run: ``check`` needs no libvirt.
"""

from __future__ import annotations

import importlib
import textwrap
from typing import IO, Any

import click

from latent_libvirt.errors import LatentLibvirtError

COMMANDS = (
    "check",
    "console",
    "doctor",
    "drain",
    "hold",
    "image",
    "init",
    "job",
    "release",
    "schema",
    "status",
    "sweep",
    "token",
    "undrain",
)
"""Each is what the module of that name calls by that name."""


class Commands(click.Group):
    """The commands, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of that name; ``None`` if there is none."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error that was raised on purpose is told without a traceback."""
        try:
            return super().invoke(ctx)
        except LatentLibvirtError as error:
            raise Told(error) from error


class Told(click.ClickException):
    """An error of this package, as people see it: what, why and what to do next; exit status 1."""

    def __init__(self, error: LatentLibvirtError) -> None:
        super().__init__(str(error))
        self.error = error

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error, to standard error if nothing else is said."""
        click.echo(self._text(), file=file, err=file is None)

    def _text(self) -> str:
        """Return the error's parts; one that says itself how it looks (located lines) as it is."""
        error = self.error
        if type(error).__str__ is not LatentLibvirtError.__str__:
            return str(error)
        lines = [click.style(f"Error: {error.brief}", fg="red", bold=True)]
        lines += [textwrap.indent(error.details, "  ")] if error.details else []
        lines += [error.resolution] if error.resolution else []
        return "\n".join(lines)


@click.command(
    name="latent-libvirt",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 if all went well, 1 if something is wrong, 2 for wrong usage.",
)
@click.version_option(package_name="latent-libvirt", prog_name="latent-libvirt")
def main() -> None:
    """Look after the VMs of latent_libvirt: one clean VM for every Buildbot build."""
