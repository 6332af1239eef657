# SPDX-License-Identifier: GPL-2.0-only
"""Watches a hypervisor from outside: ``virsh list`` over and over, in a process of its own."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_LOOP = 'while date +%s.%N && virsh --connect "$1" list --name; do sleep 0.3; done'
_TIME = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Seen:
    """How many VMs ran.

    :param peak: the most in one sample.
    :param mean: of all samples.
    """

    samples: int
    peak: int
    mean: float


class Observer:
    """Samples the names of running domains for the length of a ``with`` block.

    :param output: the file that receives what ``virsh`` prints.
    """

    def __init__(self, uri: str, output: Path) -> None:
        self._uri = uri
        self._output = output

    def __enter__(self) -> Self:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _LOOP, "observer", self._uri],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()

    def seen(self) -> Seen:
        """Return what there was to see."""
        counts: list[int] = []
        for line in self._output.read_text().splitlines():
            if _TIME.fullmatch(line):
                counts.append(0)
            elif line:
                counts[-1] += 1
        return Seen(len(counts), max(counts), sum(counts) / len(counts))
