# SPDX-License-Identifier: GPL-2.0-only
"""Options that several verbs of ``latent-libvirt image`` share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from latent_libvirt.config import units
from latent_libvirt.images import description
from latent_libvirt.plain_text import display_name

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _default_output() -> Path:
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise click.UsageError("you have no home directory: say where with --output") from None
    return Path(cache) / "latent-libvirt/images"


def _directory(_context: click.Context, _option: click.Parameter, value: Path) -> Path:
    if not str(value).isprintable():
        raise click.BadParameter("libvirt cannot say its name. Choose one of printable characters.")
    return value


output = click.option(
    "--output",
    callback=_directory,
    type=click.Path(file_okay=False, path_type=Path),
    default=_default_output,
    help="Directory of local images.  [default: latent-libvirt/images in your cache directory]",
)


def storage_pool(*, required: bool) -> Callable[[Decorated], Decorated]:
    """Return the options that name a storage pool."""
    uri = click.option(
        "--uri",
        required=required,
        callback=_not_empty,
        help="libvirt URI of the host, like qemu:///system.",
    )
    pool = click.option(
        "--pool",
        required=required,
        callback=_not_empty,
        help="Name of the host's storage pool.",
    )
    return lambda command: uri(pool(command))


def digest(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Return the first digits of a digest, if they are as many as name one image.

    :raises click.BadParameter: they are not. An empty shell variable leaves none.
    """
    if value is None or re.fullmatch(_DIGEST, value):
        return value
    raise click.BadParameter(
        f"{display_name(value)} is not the beginning of a digest. Write {_LEAST_DIGITS} to 64 "
        "hexadecimal digits in small letters, as 'latent-libvirt image list' shows them."
    )


_LEAST_DIGITS: Final = 6
_DIGEST: Final = rf"[0-9a-f]{{{_LEAST_DIGITS},64}}"


def _not_empty(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value == "":
        raise click.BadParameter("is empty")
    return value


pool_file = click.option(
    "--pool-file",
    type=click.Path(),
    help="A pool.yaml, to publish the image on each of its hosts.",
)


def _parsed(
    parse: Callable[[str], float], least: str, most: str
) -> Callable[[click.Context, click.Parameter, str], Any]:
    """Return a callback of an option that reads its value as ``pool.yaml`` does.

    :param least: the smallest value.
    :param most: the largest one.
    """

    def callback(_context: click.Context, _option: click.Parameter, value: str) -> Any:
        try:
            parsed = parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        if not parse(least) <= parsed <= parse(most):
            raise click.BadParameter(f"{value} is less than {least}, or more than {most}")
        return parsed

    return callback


_LARGEST: Final = "64TiB"

disk_size = click.option(
    "--disk",
    callback=_parsed(units.parse_size, "32MiB", _LARGEST),
    default="20GiB",
    show_default=True,
    help="Smallest size of the image's disk. It is sparse.",
)


def of_the_vm(command: Decorated) -> Decorated:
    """Add the options of the VM that an image is tried in.

    ``memory`` is bytes, ``timeout`` seconds, ``accelerator`` is ``kvm`` or ``tcg``. ``firmware`` is
    ``bios``, ``uefi`` or ``None``.
    """
    memory = click.option(
        "--memory",
        callback=_parsed(units.parse_size, "256MiB", _LARGEST),
        default="1GiB",
        show_default=True,
        help="Memory of the VM that the disk is booted in.",
    )
    timeout = click.option(
        "--timeout",
        callback=_parsed(units.parse_duration, "1s", "30d"),
        default="20m",
        show_default=True,
        help="Longest time for the installation, and again for a first start of the image.",
    )
    accelerator = click.option(
        "--accelerator",
        callback=_accelerator,
        type=click.Choice(["auto", "kvm", "tcg"]),
        default="auto",
        show_default=True,
        help="KVM, or emulation (tcg). The default is KVM if this machine has it.",
    )
    firmware = click.option(
        "--firmware",
        callback=lambda _context, _option, value: None if value == "auto" else value,
        type=click.Choice(["auto", "bios", "uefi"]),
        default="auto",
        show_default=True,
        help="What boots the disk. The default is what its partitions are made for, BIOS before "
        "UEFI.",
    )
    return memory(timeout(accelerator(firmware(command))))


def _accelerator(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if value != "auto":
        return value
    from latent_libvirt.importing import private_host  # noqa: PLC0415 (it needs libvirt)

    return private_host.usable_accelerator()


def image_name(*, required: bool, text: str) -> Callable[[Decorated], Decorated]:
    """Return the option that names a new image."""
    return click.option("--name", required=required, callback=_image_name, help=text)


def _image_name(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(description.NAME_PATTERN, value):
        raise click.BadParameter(
            "up to 40 lower-case letters, digits and hyphens, of which the first is no hyphen"
        )
    return value


def _program(_context: click.Context, _option: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and not value.is_file():
        name = display_name(value)
        raise click.BadParameter(f"{name} is no regular file. Write the program to one.")
    if value is not None and value.stat().st_size == 0:
        raise click.BadParameter(f"{display_name(value)} is empty. Write a program to it.")
    return value


script = click.option(
    "--run",
    "script",
    callback=_program,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Program that runs in the guest as root, last. It has no network.",
)

again = click.option(
    "--again", is_flag=True, help="Make it even if there is an image of that name."
)


def _packages(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    names = tuple(name for value in values for name in re.split(r"[,\s]+", value) if name)
    if values and not names:
        raise click.BadParameter("it names no package. Leave it out, or write names like gcc,make.")
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9+._:~-]*[A-Za-z0-9+.])?", name):
            raise click.BadParameter(f"{name!r} is no name of a package")
    return names


packages = click.option(
    "--packages",
    multiple=True,
    callback=_packages,
    metavar="NAMES",
    help="Packages to install as well, separated by commas. They come from the system's sources.",
)


def _allowed(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[Any, ...]:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 (few verbs need it)

    from latent_libvirt.config.destinations import Destination  # noqa: PLC0415

    try:
        return tuple(TypeAdapter(Destination).validate_python(value) for value in values)
    except ValidationError as error:
        raise click.BadParameter(error.errors(include_url=False)[0]["msg"]) from None


allow = click.option(
    "--allow",
    multiple=True,
    callback=_allowed,
    metavar="NAME:PORT",
    help="Host that the guest may reach for --packages, besides the sources of this machine's apt.",
)
