# SPDX-License-Identifier: GPL-2.0-only
"""Loading of a YAML file: a path becomes a valid configuration, or a list of all its problems."""

from __future__ import annotations

import os
from itertools import islice
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from latent_libvirt.config import explain, source
from latent_libvirt.config.models import PoolConfig
from latent_libvirt.config.problems import MOST_PROBLEMS, InvalidConfiguration

Model = TypeVar("Model", bound=BaseModel)

_WRITE_ONE: Final = "check the path, or write one with latent-libvirt init"


def load(path: str | os.PathLike[str]) -> PoolConfig:
    """Return what a pool's YAML file says.

    :raises InvalidConfiguration: with every problem, for whatever the file holds, also if there is
        none.
    """
    return load_as(PoolConfig, path, if_missing=_WRITE_ONE)


def load_as(
    model: type[Model], path: str | os.PathLike[str], *, if_missing: str = source.CHECK_PATH
) -> Model:
    """Return what a YAML file says that is to be of that model.

    :param if_missing: what to do if there is no such file.
    :raises InvalidConfiguration: as :func:`load` does.
    """
    read = source.read(path, if_missing=if_missing)
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
