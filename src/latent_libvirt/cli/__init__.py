# SPDX-License-Identifier: GPL-2.0-only
"""The command ``latent-libvirt``: its group of commands, and how their errors are shown.

Each command is a separate module here, imported when it is run: ``check`` needs no libvirt.
"""

from __future__ import annotations

from latent_libvirt.cli.terminals import early_interrupt

# isort: split
import errno
import importlib
import importlib.metadata
import io
import os
import platform
import sys
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import click

from latent_libvirt.advice.guesses import nearest
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.plain_text import display_name, shown
from latent_libvirt.process import interrupts

early_interrupt.is_over()

SHOW_TRACEBACK = "LATENT_LIBVIRT_TRACEBACK"
"""Set in the environment, errors that nobody has foreseen come with their traceback."""

_LONGEST = 500
_NARROWEST = 20
"""Columns: less is no width of a terminal, and tables would have a letter in each line."""

COMMANDS = (
    "check",
    "console",
    "doctor",
    "drain",
    "end",
    "examples",
    "export",
    "hold",
    "image",
    "init",
    "job",
    "plan",
    "release",
    "schema",
    "shell",
    "status",
    "stress",
    "sweep",
    "thaw",
    "token",
    "undrain",
    "usage",
)
"""Each is what the module of that name calls by that name."""

_ROOMS = dict.fromkeys(("export", "hold", "release", "thaw"), "holding")
"""Packages of commands whose module is not here."""


class Commands(click.Group):
    """The commands, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of that name; ``None`` if there is none."""
        if cmd_name not in COMMANDS:
            return None
        room = f"{_ROOMS[cmd_name]}." if cmd_name in _ROOMS else ""
        with early_interrupt.ended_at_once():
            module = importlib.import_module(f"{__name__}.{room}{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; one that is not there is answered with the nearest that is."""
        near = None if args[0] in COMMANDS else nearest(args[0], COMMANDS)
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            if near is None:
                raise
            what = f"No such command {args[0]!r}. Did you mean {near!r}?"
            raise click.UsageError(what, ctx) from None

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; a full disk is reported where click itself prints, too, as for help."""
        _see_the_terminal_as_it_is()
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            ShownError(_of_the_system(error)).show()
            sys.exit(1)
        finally:
            _leave_nothing_to_flush()

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the arguments before the command's name."""
        with _shown_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; report whatever goes wrong without a traceback."""
        _print_anything()
        try:
            with _shown_errors(), interrupts.raised():
                return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise _ended_by(interrupt) from interrupt
        except LatentLibvirtError as error:
            raise ShownError(error) from error
        except (click.exceptions.Exit, click.Abort, click.ClickException) as ended:
            if isinstance(ended.__context__, KeyboardInterrupt):  # Ctrl-C at a question
                raise _ended_by(ended.__context__) from ended
            raise
        except UnicodeEncodeError as error:
            raise ShownError(_no_utf8(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # click ends quietly when nobody reads any more
                raise
            raise ShownError(_of_the_system(error)) from error
        except Exception as error:
            if os.environ.get(SHOW_TRACEBACK):
                raise
            raise ShownError(_unexpected(error)) from error


def _see_the_terminal_as_it_is() -> None:
    """Forget a width in the environment that nothing can be shown in.

    A shell that began before its terminal had a size says 0.
    """
    if os.environ.get("COLUMNS", "").isdecimal() and int(os.environ["COLUMNS"][:9]) < _NARROWEST:
        del os.environ["COLUMNS"]


def _print_anything() -> None:
    """Let what a terminal's encoding has no character for be shown as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _shown_errors() -> Iterator[None]:
    """Let click's errors repeat nothing of the arguments that a terminal would obey."""
    try:
        yield
    except click.ClickException as error:
        error.message = shown(error.message)  # type: ignore[misc]  # click reads it
        if isinstance(error, click.FileError):
            error.ui_filename = display_name(error.filename)  # type: ignore[misc]
        raise


def _leave_nothing_to_flush() -> None:
    """Drop output that cannot be written: Python would try again as it exits, with status 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (AttributeError, ValueError):
        return  # it is closed


def _ended_by(interrupt: KeyboardInterrupt) -> click.exceptions.Exit:
    """Say that the command ends, and return what ends it with the status that shells expect."""
    with suppress(OSError, ValueError):  # the terminal may be closed
        click.echo(f"\nEnded by {str(interrupt) or 'Ctrl-C'}.", err=True)
    return click.exceptions.Exit(interrupts.status_after(interrupt))


def _of_the_system(error: OSError) -> LatentLibvirtError:
    names = [display_name(name) for name in (error.filename, error.filename2) if name is not None]
    return LatentLibvirtError(": ".join([*map(str, names), error.strerror or str(error)]))


def _no_utf8(error: UnicodeEncodeError) -> LatentLibvirtError:
    return LatentLibvirtError(
        f"{error.object[:_LONGEST]!a} is no text in UTF-8",
        resolution="Write the argument in UTF-8. Only names of files may have other bytes.",
    )


def _unexpected(error: Exception) -> LatentLibvirtError:
    """Return what to say of an error that nobody has foreseen: what it is, and what to report."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    version = importlib.metadata.version("latent-libvirt")
    return LatentLibvirtError(
        f"something that was not foreseen: {type(error).__name__}: {str(error)[:_LONGEST]}",
        details=f"In {Path(place.filename).name}, line {place.lineno} ({place.name}); "
        f"latent-libvirt {version}, Python {platform.python_version()}.",
        resolution="Please report it with these lines and the command. With "
        f"{SHOW_TRACEBACK}=1 in the environment, the command shows Python's traceback.",
    )


class ShownError(click.ClickException):
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
            return shown(str(error))
        lines = [click.style(f"Error: {shown(error.brief)}", fg="red", bold=True)]
        lines += [textwrap.indent(shown(error.details), "  ")] if error.details else []
        lines += [shown(error.resolution)] if error.resolution else []
        return "\n".join(lines)


@click.command(
    name="latent-libvirt",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 if all went well, 1 if something is wrong, 2 for wrong usage; 130, 143 "
    "or 129 after Ctrl-C, SIGTERM or SIGHUP. A host that answers nothing is waited for, for two "
    "minutes at most. A second Ctrl-C, or SIGKILL, ends a command before it has removed what it "
    "has begun.",
)
@click.version_option(package_name="latent-libvirt", prog_name="latent-libvirt")
def main() -> None:
    """Build images, check hosts, and watch the VMs that run Buildbot's builds."""
