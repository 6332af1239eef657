# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt init``: writes a first pool.yaml for this machine, and says what to do next.

What it proposes is decided in ``latent_libvirt.cli.proposal.pool_template``.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latent_libvirt.cli.proposal import system_libvirt
from latent_libvirt.cli.proposal.pool_template import (
    for_host,
    without_host,
)
from latent_libvirt.config.load import load
from latent_libvirt.config.schema import schema_text
from latent_libvirt.errors import HostError
from latent_libvirt.host import inventory
from latent_libvirt.host.inventory import Inventory
from latent_libvirt.images import recipes
from latent_libvirt.plain_text import display_name
from latent_libvirt.process import new_files

if TYPE_CHECKING:
    from latent_libvirt.cli.proposal.pool_template import (
        Starter,
    )

LOCAL_URIS = ("qemu:///system", "qemu:///session")

DEADLINE = 10.0
"""Seconds that a libvirt may take to answer."""


@click.command(short_help="Write a first pool.yaml for this machine.")
@click.argument("file", type=click.Path(path_type=Path), default="pool.yaml")
@click.option("--uri", help="Use the libvirt of this URI instead of this machine's.")
def init(file: Path, uri: str | None) -> None:
    """Write a commented FILE, by default pool.yaml, for this machine. Overwrites nothing.

    Looks at the libvirt that answers here, its storage pools and published images, and at
    processors and memory. Without any libvirt, the file has placeholders. Writes the JSON schema
    beside the file, for editors.
    """
    new_files.refuse_unfit(file)
    answers = {each: _take(each) for each in ((uri,) if uri is not None else _local_uris())}
    starter = _starter(answers)
    schema = file.with_suffix(".schema.json")
    texts = {file: starter.yaml(schema=schema.name, recipes=recipes.names())}
    if not os.path.lexists(schema):
        texts[schema] = schema_text()
    with new_files.written(texts):
        load(file)  # a strange --uri is good for nothing
    click.echo(f"{display_name(file)} is written: {_summary(starter)}.")
    click.echo(starter.next_steps(display_name(file)), nl=False)
    refusal = answers.get(system_libvirt.URI)
    if isinstance(refusal, HostError) and not starter.silence:
        click.echo(system_libvirt.advice(refusal, instead=starter.uri), nl=False)


def _local_uris() -> tuple[str, ...]:
    """Return what to try here; root has no session (libvirt, "Connection URIs")."""
    return LOCAL_URIS[:1] if os.geteuid() == 0 else LOCAL_URIS


def _starter(answers: Mapping[str, Inventory | HostError]) -> Starter:
    """Propose the first libvirt that has a storage pool, else the first that answers, else none."""
    found = [answer for answer in answers.values() if isinstance(answer, Inventory)]
    if found:
        return for_host(max(found, key=lambda each: bool(each.pools)), recipes.names())
    silence = "\n".join(map(str, answers.values()))
    return without_host(
        hostname=socket.gethostname(),
        cpus=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        silence=silence,
    )


def _take(uri: str) -> Inventory | HostError:
    """Return what is at *uri*, or why that is not known; a hung libvirt is not waited for."""
    answers: list[Inventory | HostError] = []

    def ask() -> None:
        try:
            answers.append(inventory.take(uri))
        except HostError as error:
            answers.append(error)
        except Exception as error:  # noqa: BLE001 - it would be a traceback of the thread
            answers.append(HostError(f"{uri} cannot be used", details=str(error)))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(DEADLINE)
    return answers[0] if answers else HostError(f"{uri} does not answer within {DEADLINE:g} s")


def _summary(starter: Starter) -> str:
    slots = starter.size.slots
    where = f"{slots} slot{'' if slots == 1 else 's'} on {starter.uri}"
    if starter.silence:
        return f"NO LIBVIRT ANSWERED, so host and storage pool are placeholders ({where})"
    if not starter.has_pool:
        return f"{where}; THE HOST HAS NO STORAGE POOL yet, its name is a placeholder"
    return f"{where}, storage pool {starter.pool}"
