# SPDX-License-Identifier: GPL-2.0-only
"""Defaults of ``pool.yaml``: keys that all hosts or all labels have unless they say otherwise.

They are merged into the plain values of the file, before anything is checked. A default that is
itself wrong is reported once, at its own place, and merged into nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError


def merged(config: Mapping[str, Any], models: Mapping[str, type[BaseModel]]) -> Mapping[str, Any]:
    """Return *config* with its defaults in each host and label.

    :param models: of the defaults of each section.
    """
    defaults = config.get("defaults")
    if not isinstance(defaults, Mapping):
        return config
    filled = {
        section: _filled(config[section], _usable(defaults[section], model))
        for section, model in models.items()
        if isinstance(config.get(section), Mapping) and isinstance(defaults.get(section), Mapping)
    }
    return {**config, **filled}


def _filled(section: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {**defaults, **each} if isinstance(each, Mapping) else each
        for name, each in section.items()
    }


def _usable(given: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return those of the defaults that are good in themselves."""
    wrong: set[object] = set()
    try:
        model.model_validate(given)
    except ValidationError as error:
        wrong = {line["loc"][0] for line in error.errors() if line["loc"]}
    return {key: value for key, value in given.items() if key not in wrong}
