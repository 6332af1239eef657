# SPDX-License-Identifier: GPL-2.0-only
"""The key ``spares`` of a label: how many VMs wait for a job, and when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from croniter import croniter
from pydantic import (
    BeforeValidator,
    Field,
    model_serializer,
)

from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.base import Written
from latent_libvirt.config.fields.numbers import MOST_VMS, VmCount
from latent_libvirt.config.fields.times import Cron, TimeZone, zone_info
from latent_libvirt.config.section import Section
from latent_libvirt.config.text import described


class SparePeriod(Section):
    """A part of the week with a separate number of spares."""

    when: Cron = Field(examples=["* 7-18 * * mon-fri"])
    """Minutes that belong to the period, as in cron (minute, hour, day of the month, month, day of
    the week). A time that never comes, such as `0 0 30 2 *`, is refused."""

    count: VmCount = Field(examples=[4])
    """Number of spares in the period."""


class SparesConfig(Section):
    """A number of spares that follows the clock; a bare number counts at all times."""

    count: VmCount = Field(default=0, examples=[1])
    """Number of spares outside all periods."""

    periods: tuple[SparePeriod, ...] = Field(
        default=(), examples=['[{when: "* 7-18 * * mon-fri", count: 4}]']
    )
    """Times with another number of spares. The first period that matches counts."""

    time_zone: TimeZone = Field(default="UTC", validate_default=True, examples=["Europe/Prague"])
    """Time zone of the periods, by its name in the IANA database. Summer time is respected."""

    def wanted(self, now: datetime) -> int:
        """Return how many spares there are to be at that moment."""
        if not self.periods:
            return self.count
        there = now.astimezone(zone_info(self.time_zone))
        matching = (period for period in self.periods if croniter.match(period.when, there))
        period = next(matching, None)
        return self.count if period is None else period.count

    @property
    def most(self) -> int:
        """Return how many there are to be at most, at any time."""
        return max([self.count, *(period.count for period in self.periods)])

    @model_serializer
    def _as_written(self) -> int | dict[str, Any]:
        if not self.periods:
            return self.count
        periods = [period.model_dump() for period in self.periods]
        return {"count": self.count, "periods": periods, "time_zone": self.time_zone}


def _spares(value: object) -> object:
    """Take a bare number for the same number at all times."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"count": _in_range(value)}
    if not isinstance(value, Mapping | SparesConfig):
        what = f"{described(value)} where a number of spares belongs"
        raise fault(what, "write one, like 2, or a section, like {count: 2}")
    return value


def _in_range(count: int) -> int:
    """Refuse a bare number as one: the file has no key ``count`` then."""
    if count < 0:
        raise fault(f"{count} is too small", "write at least 0")
    if count > MOST_VMS:
        raise fault(f"{count} is too large", f"write at most {MOST_VMS}")
    return count


Spares = Annotated[SparesConfig, BeforeValidator(_spares), Written("number or section")]
