# SPDX-License-Identifier: GPL-2.0-only
"""Readers without a token, and tokens that are missing: warnings at the end of a ``master.cfg``.

Buildbot's own pages may show what jobs hide. Whether they do depends on the whole of a
``master.cfg``, so it is looked at by one more check at the end of Buildbot's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

from buildbot.config.master import MasterConfig
from buildbot.warnings import ConfigWarning
from buildbot.www.authz import Authz, endpointmatchers

from latent_libvirt.advice import page

READ_ELSEWHERE: Final = (
    "JobApi: read='token' protects /jobs alone: c['www']['authz'] lets everybody read, so that "
    "Buildbot's own /api/v2 and its pages show the same properties "
    f"(see {page('docs/explanation/security.md')})"
)

NO_TOKENS: Final = (
    "JobApi: there is no token file {path!r} in the master's base directory, so every request is "
    "refused; 'latent-libvirt token create' makes it, or correct JobApi(tokens=...)"
)

_check_ports = MasterConfig.check_ports


def install() -> None:
    """Check every configuration that this process loads from now on."""
    MasterConfig.check_ports = _check


def _check(config: MasterConfig) -> None:
    _check_ports(config)
    if is_open(config.www) and any(map(_hides, config.services.values())):
        warnings.warn(READ_ELSEWHERE, ConfigWarning, stacklevel=2)
    for service in config.services.values():
        if path := getattr(service, "missing_tokens", None):
            warnings.warn(NO_TOKENS.format(path=path), ConfigWarning, stacklevel=2)


def is_open(www: Mapping[str, Any]) -> bool:
    """Whether pages are served, and somebody who is not logged in may read them."""
    if www.get("port") is None:
        return False
    try:
        return _may_strangers_read(www.get("authz") or Authz())
    except Exception:  # noqa: BLE001 - of rules that are not Buildbot's; they let nobody in, either
        return False


def _may_strangers_read(authz: Authz) -> bool:
    """Go through the rules as Buildbot does when it is asked for builds.

    Some of its rules can only be asked by a master that runs. Those of others are taken to be about
    what they may be about.
    """
    roles = authz.getRolesFromUser({"anonymous": True})
    for rule in filter(_is_about_reading, authz.allowRules):
        if any(authz.match(role, rule.role) for role in roles):
            return True
        if rule.defaultDeny:
            return False
    return True


def _is_about_reading(rule: Any) -> bool:
    """Whether it is; of those that Buildbot has, one is about more than single actions."""
    is_buildbots = type(rule).__module__ == endpointmatchers.__name__
    return not is_buildbots or isinstance(rule, endpointmatchers.AnyEndpointMatcher)


def _hides(service: Any) -> bool:
    return bool(getattr(service, "hides_jobs", False))
