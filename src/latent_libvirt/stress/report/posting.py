# SPDX-License-Identifier: GPL-2.0-only
"""Posting: whether posts that began late waited for the answers to others, or for the harness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row

_Span = tuple[float, float]


def answer_share(posts: Iterable[Row], posters: int) -> float:
    """Return the share of their time in which posters waited for answers, while posts were late.

    Near 1, the job API is slow. Else the harness did not begin posts that it could have begun.
    It is 1 if no post was late.

    :param posters: how many POSTs may be under way at once.
    """
    rows = list(posts)
    late = list(_merged((row["at"], row["at"] + row["late"]) for row in rows if row["late"] > 0))
    length = sum(end - begin for begin, end in late)
    if not length:
        return 1.0
    under_way = ((row["at"] + row["late"], row["seconds"]) for row in rows)
    busy = sum(_overlap((began, began + seconds), late) for began, seconds in under_way)
    return min(1.0, busy / (posters * length))


def _merged(spans: Iterable[_Span]) -> Iterator[_Span]:
    """Yield the times that any of the spans covers."""
    current: _Span | None = None
    for begin, end in sorted(spans):
        if current is not None and begin <= current[1]:
            current = current[0], max(current[1], end)
            continue
        if current is not None:
            yield current
        current = begin, end
    if current is not None:
        yield current


def _overlap(span: _Span, others: Iterable[_Span]) -> float:
    return sum(max(0.0, min(span[1], end) - max(span[0], begin)) for begin, end in others)
