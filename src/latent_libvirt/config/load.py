# SPDX-License-Identifier: GPL-2.0-only
"""Loading of a pool.yaml: a path becomes a valid configuration, or a list of all its problems."""

from __future__ import annotations

import os
from itertools import islice

from pydantic import ValidationError

from latent_libvirt.config import explain, source
from latent_libvirt.config.models import PoolConfig
from latent_libvirt.config.problems import MOST_PROBLEMS, InvalidConfiguration


def load(path: str | os.PathLike[str]) -> PoolConfig:
    """Return what a pool's YAML file says.

    :raises InvalidConfiguration: with every problem, for whatever the file holds, also if there is
        none.
    """
    read = source.read(path)
    if read.value is None and read.problems:
        raise InvalidConfiguration(path, read.problems)
    try:
        config = PoolConfig.model_validate(read.value)
    except ValidationError as error:
        # Bounded before they are put into words: each unknown key is compared with all known ones.
        found = explain.problems(islice(error.errors(include_url=False), MOST_PROBLEMS), read)
        untold = max(0, error.error_count() - MOST_PROBLEMS)
        raise InvalidConfiguration(path, [*read.problems, *found], untold=untold) from None
    if read.problems:
        raise InvalidConfiguration(path, read.problems)
    return config
