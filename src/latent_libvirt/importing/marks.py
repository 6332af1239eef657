# SPDX-License-Identifier: GPL-2.0-only
"""Marks of an import on a guest's serial console: how far its installation has come.

The guest is another maker's system. Its lines are bounded, and shown without control characters.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from latent_libvirt.images.seed import BEGUN
from latent_libvirt.plain_text import as_text

if TYPE_CHECKING:
    from latent_libvirt.images.progress import Reporter

_PROMPT: Final = b"login: "
_NOTHING_BOOTS: Final = (b"BdsDxe: No bootable option", b"UEFI Interactive Shell")
"""What OVMF says when it has found no boot loader on any disk."""
_LONGEST: Final = 4096
_SHOWN: Final = 200
_MOST_PACKAGES: Final = 50_000
_PACKAGE: Final = re.compile(
    r"(?P<name>(deb|rpm) [A-Za-z0-9][A-Za-z0-9+._-]{0,199}) (?P<version>[A-Za-z0-9+.:~^_-]{1,200})"
)


class Marks:
    """What the guest has said so far.

    :param mark: begins each of its lines for the import.
    :param reporter: hears the stages, and every other line.
    """

    def __init__(self, mark: str, reporter: Reporter) -> None:
        self._mark = f"{mark} ".encode()
        self._reporter = reporter
        self._rest = b""
        self.begun = False
        """Whether cloud-init has read the seed disk."""
        self.asks_for_login = False
        """Whether the guest has a prompt: then cloud-init would have read the seed before."""
        self.boots_nothing = False
        """Whether the firmware has found no boot loader."""
        self.done = False
        self.failure = ""
        """Why the guest gave up; empty if it did not."""
        self.stage = ""
        """What the guest did last."""
        self.packages: dict[str, str] = {}
        """What is installed, as in a manifest: versions by kind and name."""
        self.kernel_changed = False
        self._announced = 0

    @property
    def lists_all_packages(self) -> bool:
        """Whether the guest's list of its packages came without gaps."""
        return len(self.packages) == self._announced

    def feed(self, data: bytes) -> None:
        """Take what the console has said next."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LONGEST:]
        self.asks_for_login |= self._rest.endswith(_PROMPT)
        for line in lines:
            self._take(line[-_LONGEST:].strip(b"\r"))

    def _take(self, line: bytes) -> None:
        if not line.startswith(self._mark):
            self.boots_nothing |= any(words in line for words in _NOTHING_BOOTS)
            self._reporter.detail(_shown(line))
            return
        word, _, rest = line.removeprefix(self._mark).partition(b" ")
        text = _shown(rest)
        known = word.decode(errors="replace")
        if known == BEGUN:
            self.begun = True
        elif known == "stage":
            self.stage = text
            self._reporter.stage(text)
        elif known == "note":
            self._reporter.note(text)
        elif known == "failed":
            self.failure = text or "it did not say why"
        elif known == "done":
            self.done = True
        else:
            self._take_fact(known, rest.decode(errors="replace"))

    def _take_fact(self, word: str, text: str) -> None:
        if word == "package" and len(self.packages) < _MOST_PACKAGES:
            found = _PACKAGE.fullmatch(text)
            if found is not None:
                self.packages[found["name"]] = found["version"]
        elif word == "packages" and re.fullmatch("[0-9]{1,6}", text):
            self._announced = int(text)
        elif word == "kernel":
            self.kernel_changed = True


_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def _shown(line: bytes) -> str:
    return as_text(_COLOURS.sub("", line.decode(errors="replace"))[:_SHOWN])
