# SPDX-License-Identifier: GPL-2.0-only
"""Requests that nobody has claimed yet, and what holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "cap", "circle", "drained", "host", "lock", "master", "next", "unknown", "veto", "worker"
]
"""What holds a request, for machines: ``cap`` is a ``max_vms``, ``host`` anything of the hosts,
``drained`` also a label that was taken out of the file, ``circle`` VMs or a lock of builds that
wait for the request, ``veto`` a function of ``master.cfg``, ``master`` that no running master has
the builder, ``worker`` that all its workers are busy or in back-off. With ``next`` nothing holds
it. ``unknown`` is what could not be found out."""

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class QueueStatus:
    """Build requests that nobody has claimed yet.

    :param label: whose VM they would get, empty if their builder has workers of several labels, or
        of one that the properties of each job decide.
    :param oldest: seconds that one of them has waited at most, 0 if there is none; they count as
        those of :class:`WaitingStatus`.
    """

    label: str
    requests: int
    oldest: float


@dataclass(frozen=True)
class WaitingStatus:
    """A build request that nobody has claimed yet, and why.

    :param request: its id in Buildbot.
    :param seconds: since it was submitted, or since its last build ended, such as one that has lost
        its VM.
    :param labels: whose VM it could get, empty if its properties have not been looked at yet.
    :param kind: what holds it, for machines: see ``reasons.py``.
    :param reason: the same for people, in a sentence.
    """

    request: int
    builder: str
    priority: int
    seconds: float
    labels: tuple[str, ...]
    kind: str
    reason: str
