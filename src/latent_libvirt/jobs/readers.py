# SPDX-License-Identifier: GPL-2.0-only
"""Readers without a token: a warning where Buildbot's own pages show what jobs hide.

Whether they do depends on the whole of a ``master.cfg``, so it is looked at by one more check at
the end of Buildbot's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

from buildbot.config.master import MasterConfig
from buildbot.warnings import ConfigWarning

READ_ELSEWHERE: Final = (
    "JobApi: read='token' protects /jobs alone: c['www']['authz'] has no rules, so that Buildbot's "
    "own /api/v2 and its pages show the same properties to everybody (see docs/security.md)"
)

_check_ports = MasterConfig.check_ports


def install() -> None:
    """Check every configuration that this process loads from now on."""
    MasterConfig.check_ports = _check


def _check(config: MasterConfig) -> None:
    _check_ports(config)
    if _is_open(config.www) and any(map(_hides, config.services.values())):
        warnings.warn(READ_ELSEWHERE, ConfigWarning, stacklevel=2)


def _is_open(www: Mapping[str, Any]) -> bool:
    """Whether pages are served, and nothing says who may read them: Buildbot's own is no rule."""
    return www.get("port") is not None and not getattr(www.get("authz"), "allowRules", ())


def _hides(service: Any) -> bool:
    return bool(getattr(service, "hides_jobs", False))
