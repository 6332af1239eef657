# SPDX-License-Identifier: GPL-2.0-only
"""Roll-out of one image: which version is in use, which one is on trial, and which were withdrawn.

Versions are digests. Nothing here knows hosts, labels or VMs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from latent_libvirt.pool.records.rollout.rule import Counts

MOST_WITHDRAWN: Final = 50
"""Versions that are remembered as withdrawn."""

_SHOWN: Final = 16
_NO_TRIAL: Final[dict[str, Any]] = {"candidate": "", "candidate_since": 0.0, "counts": Counts()}

Kind = Literal["starts", "builds"]


@dataclass(frozen=True)
class Rollout:
    """The state of one image.

    :param stable: the version that VMs take; empty before the first was seen.
    :param stable_since: when that was built, or chosen; seconds since the epoch.
    :param candidate_since: the same of the candidate.
    :param candidate: the version that a share of the VMs takes, empty if there is none.
    :param withdrawn: versions that VMs take no more, the last one last.
    :param counts: of the trial of the candidate.
    :param said: what became of the last trial, for the status.
    """

    stable: str = ""
    stable_since: float = 0.0
    candidate: str = ""
    candidate_since: float = 0.0
    withdrawn: tuple[str, ...] = ()
    counts: Counts = field(default_factory=Counts)
    said: str = ""

    def saw(self, newest: str, *, since: float, is_chosen: bool = False) -> Rollout:
        """Return the state after *newest* was seen as the newest version on a host.

        A host that lacks a version says nothing new with an older one.

        :param since: when it was built, or chosen; seconds since the epoch.
        :param is_chosen: whether an operator has chosen that version: then it is in use at once.
        """
        if self.stable and since <= self.stable_since:
            return self
        if is_chosen or not self.stable:
            kept = tuple(each for each in self.withdrawn if each != newest)
            return Rollout(stable=newest, stable_since=since, withdrawn=kept)
        if newest in (self.stable, *self.withdrawn) or since <= self.candidate_since:
            return self
        return replace(self, candidate=newest, candidate_since=since, counts=Counts(), said="")

    def noted(self, kind: Kind, version: str, *, good: bool) -> Rollout:
        """Return the state after a start, or a build, of a VM of *version*."""
        if not self.candidate or version not in (self.stable, self.candidate):
            return self
        which = f"{'new' if version == self.candidate else 'old'}_{kind}"
        tally = getattr(self.counts, which).noted(good=good)
        return self._judged(replace(self.counts, **{which: tally}))

    def _judged(self, counts: Counts) -> Rollout:
        new, old = short(self.candidate), short(self.stable)
        if defect := counts.defect:
            withdrawn = (*self.withdrawn, self.candidate)[-MOST_WITHDRAWN:]
            said = f"version {new} is withdrawn, and VMs take {old}: {defect}"
            return replace(self, **_NO_TRIAL, withdrawn=withdrawn, said=said)
        if counts.is_enough:
            said = f"version {new} is accepted in place of {old}: {counts}"
            accepted: dict[str, Any] = {
                "stable": self.candidate,
                "stable_since": self.candidate_since,
            }
            return replace(self, **_NO_TRIAL, **accepted, said=said)
        return replace(self, counts=counts)

    @property
    def status(self) -> str:
        """What an operator should know, empty if there is nothing."""
        if self.candidate:
            return f"version {short(self.candidate)} is on trial: {self.counts}"
        return self.said if "withdrawn" in self.said else ""

    def to_plain(self) -> dict[str, Any]:
        """Return values for a database."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any] | None) -> Rollout:
        """Return the state of such values; a new one if they make no sense."""
        try:
            return _READ.validate_python(values or {})
        except ValidationError:
            return cls()


_READ: Final = TypeAdapter(Rollout)


def short(digest: str) -> str:
    """Return the digits of a digest that people see."""
    return digest[:_SHOWN]


class Share:
    """A share of the VMs, kept as exactly as whole numbers allow."""

    def __init__(self) -> None:
        self._credit = 0.5

    def takes_next(self, share: float) -> bool:
        """Return whether the next VM belongs to the *share*, from 0 to 1."""
        self._credit += share
        if self._credit < 1.0 - _ROUNDING:
            return False
        self._credit -= 1.0
        return True


_ROUNDING: Final = 1e-9
