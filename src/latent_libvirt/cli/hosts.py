# SPDX-License-Identifier: GPL-2.0-only
"""The option ``--host`` of commands that do something on each host of a ``pool.yaml``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig

host_option = click.option(
    "--host", "names", multiple=True, help="Only this host; may be repeated."
)


def chosen(config: PoolConfig, names: Sequence[str]) -> Sequence[str]:
    """Return the names of the hosts that are meant: all of them, if none is named.

    :raises click.BadParameter: there is no such host.
    """
    for name in names:
        if name not in config.hosts:
            there = ", ".join(config.hosts)
            raise click.BadParameter(f"no host {name!r}; there are: {there}", param_hint="--host")
    return [name for name in config.hosts if name in names or not names]
