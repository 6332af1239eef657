# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image``: build base images, publish them, and see that they are what they were.

Local images are in ``latent_libvirt.images``, published ones in
``latent_libvirt.host.volumes.images``. Here is how they are asked for and shown. Each verb is
imported when it is run.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

VERBS: Final = {
    "build": ("building", "build"),
    "delete": ("inspecting", "delete"),
    "import": ("importing", "import_"),
    "list": ("inspecting", "list_"),
    "prune": ("prune", "prune"),
    "publish": ("publishing", "publish"),
    "rollback": ("rollback", "rollback"),
    "sign": ("signing", "sign"),
    "verify": ("inspecting", "verify"),
}
"""By verb, the module here and the name in it."""


class _Verbs(click.Group):
    """The verbs, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the verb of that name; ``None`` if there is none."""
        if cmd_name not in VERBS:
            return None
        module, name = VERBS[cmd_name]
        verb: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        return verb


@click.group(cls=_Verbs)
def image() -> None:
    """Build and import base images, and publish them to the hosts that run VMs."""
