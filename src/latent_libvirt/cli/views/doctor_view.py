# SPDX-License-Identifier: GPL-2.0-only
"""Views of the doctor's findings: a checklist for people, and one document of JSON."""

from __future__ import annotations

import json
import textwrap
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from latent_libvirt.doctor.finding import Status
from latent_libvirt.plain_text import shown

if TYPE_CHECKING:
    from latent_libvirt.doctor.finding import Finding

_MARKS = {
    Status.FINE: click.style("✓", fg="green"),
    Status.WARNING: click.style("!", fg="yellow", bold=True),
    Status.FAILED: click.style("✗", fg="red", bold=True),
}


class Checklist(ABC):
    """Takes findings, in any order of hosts (see :class:`~latent_libvirt.doctor.run.Reader`)."""

    def __init__(self) -> None:
        self._count: Counter[Status] = Counter()

    @abstractmethod
    def expect(self, hosts: Mapping[str, str]) -> None:
        """Record the hosts that there will be findings of: their URIs, by name."""

    def add(self, host: str | None, finding: Finding) -> None:
        """Take a finding of a host, or of no host in particular."""
        self._count[finding.status] += 1
        self._show(host, finding)

    @abstractmethod
    def done(self, host: str) -> None:
        """Note that there will be no more of that host."""

    def finish(self) -> int:
        """Show what has not been shown; return the exit status."""
        self._conclude()
        return 1 if self._count[Status.FAILED] else 0

    @abstractmethod
    def _show(self, host: str | None, finding: Finding) -> None:
        """Show a finding, or keep it for later."""

    @abstractmethod
    def _conclude(self) -> None:
        """Show the rest."""


class Text(Checklist):
    """Shows each finding at once, but host by host: those of a later host wait for their turn."""

    def __init__(self) -> None:
        super().__init__()
        self._uris: dict[str, str] = {}
        self._waiting: dict[str, list[Finding]] = {}
        self._over: set[str] = set()
        self._begun: set[str] = set()

    def expect(self, hosts: Mapping[str, str]) -> None:
        """Record the hosts; the first one's heading comes with its first finding."""
        self._uris = dict(hosts)
        self._waiting = {host: [] for host in hosts}

    def done(self, host: str) -> None:
        """Go on to the next host if it was that one's turn."""
        self._over.add(host)
        while self._waiting and self._current in self._over:
            self._begin()
            del self._waiting[self._current]
        if self._begun:
            self._begin()

    @property
    def _current(self) -> str:
        return next(iter(self._waiting))

    def _begin(self) -> None:
        if self._waiting and self._current not in self._begun:
            name = self._current
            self._begun.add(name)
            click.echo(f"\n{click.style(name, bold=True)} ({self._uris[name]})")
            for finding in self._waiting[name]:
                self._print(finding, indent="  ")

    def _show(self, host: str | None, finding: Finding) -> None:
        if host is None:
            self._print(finding, indent="")
        elif host == self._current:
            self._begin()
            self._print(finding, indent="  ")
        else:
            self._waiting[host].append(finding)

    @staticmethod
    def _print(finding: Finding, *, indent: str) -> None:
        mark = _MARKS[finding.status]
        click.echo(f"{indent}{mark} {shown(finding.check)}: {shown(finding.brief)}")
        for text, mark in ((finding.details, "  "), (finding.resolution, "→ ")):
            if text:
                lines = textwrap.indent(shown(text), f"{indent}    ")
                lines = lines.removeprefix(f"{indent}    ")
                click.echo(f"{indent}  {mark}{lines}")

    def _conclude(self) -> None:
        words = {Status.FINE: "fine", Status.WARNING: "to look at", Status.FAILED: "failed"}
        counted = (f"{self._count[s]} {w}" for s, w in words.items() if self._count[s])
        click.echo(f"\n{', '.join(counted)}.")


class Document(Checklist):
    """Prints all findings at the end, as one JSON document.

    :param file: the name of the file that was examined.
    """

    def __init__(self, file: str) -> None:
        super().__init__()
        self._file = file
        self._findings: list[dict[str, str | None]] = []

    def expect(self, hosts: Mapping[str, str]) -> None:
        """Expect nothing: findings are all shown at the end."""

    def done(self, host: str) -> None:
        """Go on."""

    def _show(self, host: str | None, finding: Finding) -> None:
        self._findings.append({"host": host, **asdict(finding)})

    def _conclude(self) -> None:
        ok = not self._count[Status.FAILED]
        document = {"file": self._file, "ok": ok, "findings": self._findings}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
