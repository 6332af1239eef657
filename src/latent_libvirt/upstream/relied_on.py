# SPDX-License-Identifier: GPL-2.0-only
"""Methods of Buildbot that are wrapped: a version that lacks one is left as it is."""

from __future__ import annotations

from collections.abc import Iterable

import buildbot
from twisted.logger import Logger

log = Logger()


def are_there(methods: Iterable[tuple[type, str]], *, does: str, otherwise: str) -> bool:
    """Return whether Buildbot has all *methods*; if not, log what does not work then.

    :param does: what Buildbot does with them, as in "Buildbot ``starts builds`` in another way".
    :param otherwise: what does not work without them.
    """
    missing = [f"{owner.__name__}.{name}" for owner, name in methods if not hasattr(owner, name)]
    if missing:
        log.warn(
            "Buildbot {version} {does} in another way than 4.3 ({missing} is not there): "
            "{otherwise}",
            version=buildbot.version,
            does=does,
            missing=", ".join(missing),
            otherwise=otherwise,
        )
    return not missing
