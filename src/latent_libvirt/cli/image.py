# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image``: build base images, publish them, and see that they are what they were.

Local images are in ``latent_libvirt.images``, published ones in
``latent_libvirt.host.volumes.images``. Here is how they are asked for and shown.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from latent_libvirt.advice import command as command_line
from latent_libvirt.advice import listed, page
from latent_libvirt.cli.prune import prune
from latent_libvirt.config import units
from latent_libvirt.config.fields import NAME_PATTERN
from latent_libvirt.config.load import load
from latent_libvirt.errors import ConfigurationError, HostError, LatentLibvirtError
from latent_libvirt.images import description, recipes
from latent_libvirt.images import local as local_images
from latent_libvirt.images.build import build as build_image
from latent_libvirt.images.local import DESCRIPTION, LocalImage
from latent_libvirt.images.progress import Reporter
from latent_libvirt.plain_text import display_name

if TYPE_CHECKING:
    import libvirt

    from latent_libvirt.config.models import HostConfig
    from latent_libvirt.images.description import Description

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

console = Console(highlight=False)


def _default_output() -> Path:
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise click.UsageError("you have no home directory: say where with --output") from None
    return Path(cache) / "latent-libvirt/images"


_output = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=_default_output,
    help="Directory of local images.  [default: latent-libvirt/images in your cache directory]",
)


def _storage_pool(*, required: bool) -> Callable[[Decorated], Decorated]:
    """Return the options that name a storage pool."""
    uri = click.option(
        "--uri", required=required, help="libvirt URI of the host, like qemu:///system."
    )
    pool = click.option("--pool", required=required, help="Name of the host's storage pool.")
    return lambda command: uri(pool(command))


_pool_file = click.option(
    "--pool-file",
    type=click.Path(),
    help="A pool.yaml, to publish the image on each of its hosts.",
)


def _parsed(
    parse: Callable[[str], float], least: str
) -> Callable[[click.Context, click.Parameter, str], Any]:
    """Return a callback of an option that reads its value as ``pool.yaml`` does.

    :param least: the smallest value.
    """

    def callback(_context: click.Context, _option: click.Parameter, value: str) -> Any:
        try:
            parsed = parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        if not parse(least) <= parsed <= _LARGEST:
            raise click.BadParameter(f"{value} is less than {least}, or too large")
        return parsed

    return callback


_LARGEST: Final = 64 * units.TIB
_disk_size = _parsed(units.parse_size, "1MiB")
_memory_size = _parsed(units.parse_size, "256MiB")
_duration = _parsed(units.parse_duration, "1s")


@click.group
def image() -> None:
    """Build and import base images, and publish them to the hosts that run VMs."""


image.add_command(prune)


@image.command
@click.argument("name")
@_output
@click.option(
    "--locked", is_flag=True, help="Refuse packages that differ from the recipe's manifest."
)
@click.option("--rebuild", is_flag=True, help="Build even if there is an image of the same recipe.")
def build(name: str, output: Path, *, locked: bool, rebuild: bool) -> None:
    """Build the image of the recipe NAME, unless there is one of the same recipe."""
    recipe = recipes.load(name)
    with _Stages() as stages:
        built = build_image(recipe, output, rebuild=rebuild, locked=locked, reporter=stages)
    _say(built.description, str(built.directory))


@image.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the new image.")
@_output
@click.option(
    "--run",
    "script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Program that runs in the guest as root, last. It has no network.",
)
@click.option("--again", is_flag=True, help="Import even if there is an image of that name.")
@click.option(
    "--disk",
    callback=_disk_size,
    default="20GiB",
    show_default=True,
    help="Smallest size of the image's disk. It is sparse.",
)
@click.option(
    "--memory",
    callback=_memory_size,
    default="1GiB",
    show_default=True,
    help="Memory of the import's VM.",
)
@click.option(
    "--timeout",
    callback=_duration,
    default="20m",
    show_default=True,
    help="Longest time for the installation.",
)
@click.option(
    "--accelerator",
    type=click.Choice(["auto", "kvm", "tcg"]),
    default="auto",
    show_default=True,
    help="KVM, or emulation (tcg). The default is KVM if this machine has it.",
)
@_pool_file
def import_(  # noqa: PLR0913 - click's options
    file: Path,
    name: str,
    output: Path,
    script: Path | None,
    *,
    again: bool,
    disk: int,
    memory: int,
    timeout: float,
    accelerator: str,
    pool_file: str | None,
) -> None:
    """Make an image of FILE, a cloud image of another maker.

    FILE is the disk of an x86-64 system with cloud-init and systemd, as qcow2, raw, vmdk, vhdx, vdi
    or vhd. It is not changed. A private libvirtd on this machine boots it once, without a network,
    and cloud-init in the guest installs the launcher. Then a VM of the image is booted, saved,
    restored, and becomes a worker.
    """
    from latent_libvirt.importing import importer, private_host  # noqa: PLC0415 (it needs libvirt)

    if not re.fullmatch(description.NAME_PATTERN, name):
        raise click.BadParameter(_NO_NAME, param_hint="--name")
    hosts = {} if pool_file is None else load(pool_file).hosts
    if accelerator == "auto":
        accelerator = private_host.usable_accelerator()
    wanted = importer.Wanted(
        file=file,
        name=name,
        script=script,
        vcpus=min(2, os.cpu_count() or 1),
        memory=memory,
        disk=disk,
        accelerator=accelerator,
        timeout=timeout,
        again=again,
    )
    with _Stages() as stages:
        made = importer.import_image(wanted, output, stages)
    _say(made.description, str(made.directory))
    _publish_to_all(made, hosts)


_NO_NAME: Final = "up to 40 lower-case letters, digits and hyphens, of which the first is no hyphen"


@image.command
@click.argument("image", metavar="NAME_OR_DIRECTORY")
@_output
@_storage_pool(required=False)
@_pool_file
def publish(
    image: str, output: Path, uri: str | None, pool: str | None, pool_file: str | None
) -> None:
    """Upload the newest image of that name, or the one in a directory, to a host's storage pool.

    With --pool-file, to all hosts of that pool. If that fails on a host, the others get the image,
    and the exit status is 1.
    """
    if (pool_file is None) == (uri is None and pool is None):
        raise click.UsageError("name a host by --uri and --pool, or all hosts by --pool-file")
    hosts = {} if pool_file is None else load(pool_file).hosts
    found = _local_image(image, output)
    if pool_file is None:
        _publish(found, uri, pool)
    else:
        _publish_to_all(found, hosts)


def _publish(local: LocalImage, uri: str | None, pool: str | None) -> None:
    from latent_libvirt.host.volumes import image_upload  # noqa: PLC0415 (building needs no libvirt)

    with _opened(uri, pool) as storage, _bytes(f"Publish {local.description.name}") as progress:
        published = image_upload.publish(storage, local, progress, _Once(_WAITING))
    _say(published.description, f"published in {pool} of {uri}")


def _publish_to_all(local: LocalImage, hosts: Mapping[str, HostConfig]) -> None:
    """Publish an image on each of *hosts*, one after the other.

    :raises HostError: it is not published on one or more of them.
    """
    failed = {}
    for name, host in hosts.items():
        try:
            _publish(local, host.uri, host.storage_pool)
        except LatentLibvirtError as error:
            failed[name] = error.brief
    if failed:
        raise HostError(
            f"the image is not published on {', '.join(failed)}",
            details="\n".join(f"{name}: {why}" for name, why in failed.items()),
            resolution="Publish it there when the cause is removed. Hosts that have it are skipped:"
            + listed(
                command_line("latent-libvirt", "image", "publish", str(local.directory))
                + " --pool-file FILE"
            ),
        )


@image.command(name="list")
@_output
@_storage_pool(required=False)
def list_(output: Path, uri: str | None, pool: str | None) -> None:
    """List local images, or with --uri and --pool the published ones."""
    if uri is None and pool is None:
        found = [local.description for local in local_images.local_images(output)]
    else:
        found = _published(uri, pool)
    if found:
        console.print(_table(found))
    else:
        console.print("There are none.")


@image.command
@click.argument("name", required=False)
@_output
@_storage_pool(required=False)
def verify(name: str | None, output: Path, uri: str | None, pool: str | None) -> None:
    """Compare images with their digests: all, or those called NAME.

    Reads local images. With --uri and --pool, it downloads and compares the published ones.
    """
    if uri is None and pool is None:
        count = _verify_local(name, output)
    else:
        count = _verify_published(name, uri, pool)
    if count == 0:
        raise ConfigurationError("there is no such image to verify")


@image.command
@click.argument("name")
@click.argument("digest")
@_storage_pool(required=True)
def delete(name: str, digest: str, uri: str, pool: str) -> None:
    """Delete the published image NAME whose digest begins with DIGEST."""
    from latent_libvirt.host.volumes import images  # noqa: PLC0415

    with _opened(uri, pool) as storage:
        found = images.find(storage, name, digest)
        images.delete(storage, found)
    _say(found.description, f"is deleted from {pool} of {uri}")


def _local_image(name_or_directory: str, output: Path) -> LocalImage:
    directory = Path(name_or_directory)
    if os.path.lexists(directory / DESCRIPTION):
        return LocalImage.load(directory)
    if not re.fullmatch(NAME_PATTERN, name_or_directory):
        raise _no_image_of_ours(name_or_directory)
    return local_images.newest(output, name_or_directory)


def _no_image_of_ours(given: str) -> ConfigurationError:
    """Return what to say of a path where the name or the directory of a built image belongs."""
    shown, path = display_name(given), Path(given)
    what = "is not there" if not os.path.lexists(path) else "is no image that was built here"
    return ConfigurationError(
        f"{shown} {what}",
        details="What is published is the NAME of an image, or the DIRECTORY that 'latent-libvirt "
        f"image build' has made, with {DESCRIPTION} in it.",
        resolution="A disk image of your own is not published: upload it to the storage pool as a "
        "qcow2 volume (virsh vol-create-as, vol-upload) and name it in pool.yaml, as `images: "
        "{mine: {volume: my.qcow2}}`. What has to be in it: "
        f"{page('docs/reference/image-contract.md')}.",
    )


def _verify_local(name: str | None, output: Path) -> int:
    found = local_images.local_images(output, name)
    for each in found:
        with _bytes(f"Verify {each.description.name}") as progress:
            each.verify(progress)
        _say(each.description, "is what was built")
    return len(found)


def _verify_published(name: str | None, uri: str | None, pool: str | None) -> int:
    from latent_libvirt.host.volumes import images  # noqa: PLC0415

    with _opened(uri, pool) as storage:
        found = [each for each in images.published(storage) if name in (None, each.name)]
        for each in found:
            with _bytes(f"Verify {each.name}") as progress:
                images.verify(storage, each, progress)
            _say(each.description, "is what was published")
    return len(found)


def _published(uri: str | None, pool: str | None) -> list[Description]:
    from latent_libvirt.host.volumes import (  # noqa: PLC0415
        images,
        storage,
    )

    with _opened(uri, pool) as opened:
        storage.refresh(opened)
        return [each.description for each in images.published(opened)]


@contextmanager
def _opened(uri: str | None, pool: str | None) -> Iterator[libvirt.virStoragePool]:
    """Give the storage pool.

    :raises HostError: the host does not answer, or its libvirt refused something.
    """
    if uri is None or pool is None:
        raise click.UsageError("--uri and --pool belong together")
    from latent_libvirt.host.libvirtd.errand import visiting  # noqa: PLC0415
    from latent_libvirt.host.volumes.storage import storage_pool  # noqa: PLC0415

    with visiting(uri) as connection:
        yield storage_pool(connection, pool)


def _say(description: Description, what: str) -> None:
    name = f"[bold]{description.name} {description.short_digest}[/bold]"
    console.print(f"[green]✓[/green] {name} ", end="")
    console.print(what, markup=False, soft_wrap=True)


def _table(descriptions: list[Description]) -> Table:
    table = Table("name", "digest", "built", "files", "disk", box=None)
    for each in descriptions:
        table.add_row(
            each.name,
            each.short_digest,
            f"{each.created:%Y-%m-%d %H:%M} UTC",
            f"{each.parts.size / 2**20:.0f} MiB",
            f"{each.virtual_size / 2**30:.0f} GiB",
        )
    return table


def _progress(*columns: ProgressColumn) -> Progress:
    """Return what shows progress on a terminal, and nothing elsewhere."""
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def _bytes(title: str) -> Iterator[Callable[[int, int], None]]:
    """Give what shows bytes done, of bytes in all, as a bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(True))
    with _progress(*columns, TransferSpeedColumn()) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


_WAITING = (
    "Somebody else uploads this image; waiting for that. An upload that shows no sign of life "
    "for a minute is taken over."
)


class _Once:
    """Something to say, when it is called for the first time."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self) -> None:
        if self._text:
            console.print(self._text, markup=False)
        self._text = ""


_LOG_INTERVAL: Final = 20.0
"""Seconds without a line in a log until a detail is one."""


class _Stages(Reporter):
    """Shows the stages of a build: on a terminal the one that it is in, with details and a clock.

    Elsewhere, such as in a log, each stage is one line, and so is a detail of a long stage.
    """

    def __init__(self) -> None:
        columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        detail = TextColumn("[dim]{task.fields[detail]}[/dim]", markup=True)
        self._progress = _progress(*columns, detail)
        self._task = self._progress.add_task("", total=None, detail="")
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def stage(self, text: str) -> None:
        self._progress.update(self._task, description=text, detail="")
        self._log(f"  {text}")

    def detail(self, text: str) -> None:
        self._progress.update(self._task, detail=text.replace("[", r"\["))
        if time.monotonic() - self._last_line >= _LOG_INTERVAL:
            self._log(f"    {text}")

    def _log(self, line: str) -> None:
        if not console.is_terminal:
            console.print(line, markup=False)
            self._last_line = time.monotonic()

    def note(self, text: str) -> None:
        console.print(text, markup=False, style="yellow")
