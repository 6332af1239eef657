# SPDX-License-Identifier: GPL-2.0-only
"""Reports of the stress harness, as observations: with what to say if one cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import display_name
from latent_libvirt.stress.report.data import read
from latent_libvirt.stress.sizing.observed import observed

if TYPE_CHECKING:
    from latent_libvirt.stress.sizing.observed import Observed

UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    yaml.YAMLError,
)
"""What data of another version or kind comes to."""


def observed_in(directory: Path) -> Observed:
    """Return what the report in *directory* has.

    :raises ConfigurationError: it has no raw data, or too little.
    """
    try:
        return observed(read(directory))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{display_name(str(directory))} has no raw data of a run",
            details=f"{display_name(str(error.filename))} is not there.",
            resolution="Give the directory that `latent-libvirt stress --report` wrote.",
        ) from None
    except UNREADABLE as error:
        raise ConfigurationError(
            f"the raw data in {display_name(str(directory))} cannot be read",
            details=f"{type(error).__name__}: {str(error)[:300]}",
            resolution="Run `latent-libvirt stress` of this version.",
        ) from None
