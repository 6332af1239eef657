# SPDX-License-Identifier: GPL-2.0-only
"""Profiles of load: a YAML file that says what is started, which jobs come when, and who reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from latent_libvirt.config.load import load_as
from latent_libvirt.stress.profile.models import Profile

PROFILES: Final = Path(__file__).parents[1] / "profiles"
"""The profiles that come with this package."""


def load(path: str | os.PathLike[str]) -> Profile:
    """Return what a profile says.

    :raises InvalidConfiguration: with every problem, each with its place and what would be right.
    """
    return load_as(Profile, path)
