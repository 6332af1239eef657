# SPDX-License-Identifier: GPL-2.0-only
"""Note of a request in the audit log, whichever part of the server has answered it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from latent_libvirt.jobs.web.problems import RefusedError

if TYPE_CHECKING:
    from latent_libvirt.jobs.manager import JobManager
    from latent_libvirt.jobs.web.answers import Answer
    from latent_libvirt.jobs.web.visit import Visit


def note(visit: Visit, answer: Answer, manager: JobManager | None) -> None:
    """Note what was asked and answered, and whose token it was.

    :param manager: who has the audit log; ``None`` has none.
    """
    if manager is not None:
        _name_token(manager, visit)
        manager.audit_log.note(visit.record(manager.proxies), answer.status, answer.problem)


def _name_token(manager: JobManager, visit: Visit) -> None:
    """Look at the token, if nobody has: also of what needs none, or was refused."""
    with suppress(RefusedError):
        if visit.facts.get("token") is None and (authorization := visit.header("authorization")):
            visit.facts["token"] = manager.authenticate(authorization).name
