# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt schema``: what an editor needs to complete a pool.yaml."""

from __future__ import annotations

import click

from latent_libvirt.config.schema import schema_text


@click.command(short_help="Print the JSON schema of pool.yaml.")
def schema() -> None:
    """Print the JSON schema of pool.yaml, for editors.

    An editor with a YAML language server finds it by the first line of the file:

        # yaml-language-server: $schema=pool.schema.json
    """
    click.echo(schema_text(), nl=False)
