# SPDX-License-Identifier: GPL-2.0-only
"""Profiles of load: a YAML file that says what is started, which jobs come when, and who reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from latent_libvirt.config.load import load_as
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.stress.profile.models import Profile
from latent_libvirt.stress.profile.target import TargetProfile

PROFILES: Final = Path(__file__).parents[1] / "profiles"
"""The profiles that come with this package."""


def load(path: str | os.PathLike[str]) -> Profile:
    """Return what a profile says.

    :raises InvalidConfiguration: with every problem, each with its place and what would be right.
    """
    return load_as(Profile, path)


def aimed_at(profile: Profile, url: str | None, token_file: Path | None) -> Profile:
    """Return a profile whose load is put on a deployment that runs already.

    :param url: of its web UI; ``None`` for what the profile says.
    :raises ConfigurationError: the URL is none, or a token is given without a target.
    """
    if url is None and token_file is None:
        return profile
    if url is None and profile.target is None:
        raise ConfigurationError(
            "--token-file is for a deployment that runs already, and the profile has no target",
            resolution="Give its URL: --url http://127.0.0.1:8010/",
        )
    given = {"url": url, "token_file": None if token_file is None else str(token_file)}
    changes = {name: value for name, value in given.items() if value is not None}
    before = {} if profile.target is None else profile.target.model_dump()
    try:
        target = TargetProfile.model_validate(before | changes)
    except ValidationError as error:
        (first, *_) = error.errors()
        raise ConfigurationError(f"--url: {first['msg']}") from None
    return profile.model_copy(update={"deployment": None, "target": target})
