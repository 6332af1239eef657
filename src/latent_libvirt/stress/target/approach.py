# SPDX-License-Identifier: GPL-2.0-only
"""Approach to a running deployment: what is checked before a load, and what ends after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.config.suggestions import suggestion
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.jobs import access
from latent_libvirt.stress.measure.raw import make
from latent_libvirt.stress.target import addresses, cancelling
from latent_libvirt.stress.target.rest import TargetError
from latent_libvirt.stress.target.system import TargetSystem

if TYPE_CHECKING:
    from latent_libvirt.stress.profile.models import Profile
    from latent_libvirt.stress.profile.target import TargetProfile

_MOST_SHOWN: Final = 5


@contextmanager
def approached(profile: Profile, raw: Path, say: Callable[[str], object]) -> Iterator[TargetSystem]:
    """Give a profile's target; at the end, cancel what has been posted and has not ended.

    :param raw: the directory of the raw data; made if need be.
    :raises LatentLibvirtError: the target is not the operator's, or cannot be used.
    """
    assert profile.target is not None
    system = _checked(profile, profile.target, raw)
    make(raw)
    cancelling.write_target(raw, profile.target)
    say(f"The target is {profile.target.url}")
    for each in system.about().invisible:
        say(f"Not visible: {each}.")
    try:
        yield system
    finally:
        system.stop()
        report_left(system.leave(), say)


def report_left(left: list[str], say: Callable[[str], object]) -> None:
    """Say which jobs may still run, and what cancels them."""
    if left:
        say(f"{len(left)} jobs could not be cancelled:")
        for each in left[:_MOST_SHOWN]:
            say(f"  {each}")
        say("Cancel them with: latent-libvirt stress cancel REPORT")


def _checked(profile: Profile, target: TargetProfile, raw: Path) -> TargetSystem:
    addresses.check(target.url, target.addresses)  # before the token is read
    token = access.token(None if target.token_file is None else Path(target.token_file))
    if token is None:
        raise ConfigurationError(
            "there is no token for the target's job API",
            resolution="Give --token-file, or target.token_file in the profile. "
            "'latent-libvirt token create' makes tokens.",
        )
    database = target.database_file
    secret = None if database is None else access.secret_in(Path(database), "file with a URL")
    system = TargetSystem(target, token, raw, secret)
    _check_builders(profile, system)
    system.queue.check()
    return system


def _check_builders(profile: Profile, system: TargetSystem) -> None:
    """Refuse a profile whose jobs are for builders that the target does not have.

    :raises TargetError: it does not.
    """
    there = {str(row["name"]) for row in system.rest.rows("builders", "field=name")}
    wanted = {str(shape.shape.request()["builder"]) for shape in profile.jobs.shapes.values()}
    if missing := sorted(wanted - there):
        raise TargetError(
            f"the target has no builder {missing[0]}",
            details=suggestion(missing[0], sorted(there), kind="builders"),
            resolution="Add the stress builders to its master.cfg, or name a builder for each "
            "shape of the profile (builder:).",
        )
