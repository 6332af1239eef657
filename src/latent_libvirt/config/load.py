# SPDX-License-Identifier: GPL-2.0-only
"""Loading of a YAML file: a path becomes a valid configuration, or a list of all its problems."""

from __future__ import annotations

import os
from itertools import islice
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from latent_libvirt.config import explain, source
from latent_libvirt.config.models import PoolConfig
from latent_libvirt.config.problems import MOST_PROBLEMS, InvalidConfiguration

Model = TypeVar("Model", bound=BaseModel)


def load(path: str | os.PathLike[str]) -> PoolConfig:
    """Return what a pool's YAML file says.

    :raises InvalidConfiguration: with every problem, for whatever the file holds, also if there is
        none.
    """
    return load_as(PoolConfig, path)


def load_as(model: type[Model], path: str | os.PathLike[str]) -> Model:
    """Return what a YAML file says that is to be of that model.

    :raises InvalidConfiguration: as :func:`load` does.
    """
    read = source.read(path)
    if read.value is None and read.problems:
        raise InvalidConfiguration(path, read.problems)
    try:
        config = model.model_validate(read.value)
    except ValidationError as error:
        # Bounded before they are put into words: each unknown key is compared with all known ones.
        some = islice(error.errors(include_url=False), MOST_PROBLEMS)
        found = explain.problems(some, read, model)
        untold = max(0, error.error_count() - MOST_PROBLEMS)
        raise InvalidConfiguration(path, [*read.problems, *found], untold=untold) from None
    if read.problems:
        raise InvalidConfiguration(path, read.problems)
    return config
