# SPDX-License-Identifier: GPL-2.0-only
"""A job for people: a small page that refreshes itself until the job has ended.

It has no script, so it works in every browser and nothing in it can run.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from latent_libvirt.jobs.state import master_name

if TYPE_CHECKING:
    from latent_libvirt.jobs import models

REFRESH = 2
"""Seconds."""

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"


def render(document: models.Job) -> str:
    """Return the page of a job's document."""
    refresh = None if document["state"] == "finished" else REFRESH
    return _template().render(job=document, refresh=refresh)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("latent_libvirt.jobs.web", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["master_name"] = master_name
    return environment.get_template("page.html")
