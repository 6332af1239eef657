# SPDX-License-Identifier: GPL-2.0-only
"""Model of a profile's target: a deployment that runs already, and its parts on this machine."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.base import Written
from latent_libvirt.config.fields.names import ByName
from latent_libvirt.config.section import Section
from latent_libvirt.config.text import quoted
from latent_libvirt.jobs.access import fault_of

JOBS: Final = "jobs"
"""The path of the job API below the URL of the web UI."""

MOST_ADDRESSES: Final = 50


def web_url(text: str) -> str:
    """Return the URL of a web UI, with a slash at its end; that of ``/jobs`` is taken, too."""
    if wrong := fault_of(text):
        raise fault(wrong, "write the URL of the web UI, like http://127.0.0.1:8010/")
    return f"{text.rstrip('/').removesuffix(f'/{JOBS}')}/"


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        remedy = "write one, like 192.0.2.10"
        raise fault(f"{quoted(text)} is not an IP address", remedy) from None


def _list(value: object) -> object:
    if isinstance(value, str):
        raise fault(f"{quoted(value)} is not a list", f"write [{value}]")
    return value


Url = Annotated[str, Strict(), AfterValidator(web_url), Written("URL")]
File = Annotated[str, Strict(), Field(min_length=1, max_length=4000), Written("path")]
IpAddress = Annotated[str, Strict(), AfterValidator(_address)]
ProcessNumber = Annotated[int, Strict(), Field(ge=1, le=2**22)]


class TargetProfile(Section):
    """A deployment that runs already."""

    url: Url = Field(examples=["http://127.0.0.1:8010/"])
    """URL of the web UI. The job API is at `jobs` below it."""

    token_file: File | None = Field(default=None, examples=["/etc/buildbot/stress-token"])
    """File with the token of the job API, which only its owner may read. By default, the
    environment variable `LATENT_LIBVIRT_TOKEN` has the token."""

    addresses: Annotated[
        tuple[IpAddress, ...],
        BeforeValidator(_list),
        Field(max_length=MOST_ADDRESSES),
        Written("list of IP addresses"),
    ] = Field(default=(), examples=["[192.0.2.10]"])
    """Your addresses that the host of `url` may have. Loopback need not be listed. Any other
    address is refused."""

    masters: ByName[File] = Field(default={}, examples=["{interface-1: /srv/buildbot/interface-1}"])
    """Base directories of masters on this machine, by name. A master with a pool has a control
    socket there, by which its process and its event loop are measured."""

    processes: ByName[ProcessNumber] = Field(
        default={}, examples=["{scheduler: 4711, postgresql: 812}"]
    )
    """Numbers of more processes on this machine, by name. Their descendants count as theirs."""

    database_file: File | None = Field(default=None, examples=["/etc/buildbot/database-url"])
    """File with the URL of the masters' PostgreSQL, as SQLAlchemy has it, which only its owner may
    read. Its extension `pg_stat_statements` has the time by statement. Nothing is written there."""

    @property
    def jobs_url(self) -> str:
        """Where the job API is."""
        return f"{self.url}{JOBS}"
