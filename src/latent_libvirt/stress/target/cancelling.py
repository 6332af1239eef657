# SPDX-License-Identifier: GPL-2.0-only
"""Cancellation of the jobs of a run that was killed, by what its directory says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.jobs import access
from latent_libvirt.jobs.client import Client
from latent_libvirt.stress.profile.target import TargetProfile
from latent_libvirt.stress.report.data import RAW
from latent_libvirt.stress.target import addresses, posted
from latent_libvirt.stress.target.system import UUIDS

if TYPE_CHECKING:
    from collections.abc import Mapping

TARGET: Final = "target.json"
"""The file that says where a run has posted its jobs; the token is not in it."""


def write_target(raw: Path, target: TargetProfile) -> None:
    """Write down where a run posts its jobs, before it does."""
    token_file = None if target.token_file is None else str(Path(target.token_file).absolute())
    written = target.model_copy(update={"token_file": token_file})
    (raw / TARGET).write_text(written.model_dump_json(indent=2))


def cancel(directory: Path, *, url: str | None, token_file: Path | None) -> list[str]:
    """Cancel the jobs of a run; return those for which that failed, in words.

    :param directory: of its report.
    :raises LatentLibvirtError: it had no target, or there is no token.
    """
    target = _target(directory / RAW / TARGET, {"url": url, "token_file": token_file})
    addresses.check(target.url, target.addresses)
    token = access.token(None if target.token_file is None else Path(target.token_file))
    client = Client(target.jobs_url, token, handlers=addresses.handlers(target.addresses))
    failed = posted.cancel_all(client, posted.recorded(directory / RAW / UUIDS), within=600.0)
    return [f"job {uuid}: {why}" for uuid, why in failed.items()]


def _target(path: Path, changes: Mapping[str, str | Path | None]) -> TargetProfile:
    try:
        found = json.loads(path.read_text())
        given = {name: str(value) for name, value in changes.items() if value is not None}
        return TargetProfile.model_validate(found | given)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{path} does not say where that run has posted jobs",
            details=str(error),
            resolution="Give the directory of a report whose run had a target.",
        ) from None
