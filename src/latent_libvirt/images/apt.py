# SPDX-License-Identifier: GPL-2.0-only
"""Debian packages by way of the machine's own apt: where they come from, and the lists of them.

The machine's configuration says which mirror to use; no host is named here. Sources of anybody but
Debian never get into an image: apt itself finds which are Debian's, from their signed lists.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images.programs import BuildError, output_of, program, run

if TYPE_CHECKING:
    from latent_libvirt.images.progress import Reporter

KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
"""Debian's keys; it has the same place on the machine and in the image."""

_ORIGIN: Final = "Debian"
_POCKETS: Final = {
    "Debian": ("{suite}", "{suite}-updates"),
    "Debian-Security": ("{suite}-security",),
}
_WITHOUT_POCKETS: Final = ("sid",)
_FORMAT: Final = "$(ORIGIN)|$(LABEL)|$(CODENAME)|$(REPO_URI)"


@dataclass(frozen=True)
class Source:
    """One archive of Debian's, as the machine reaches it."""

    label: str
    uri: str

    def lines(self, suite: str) -> Iterator[str]:
        """Yield what ``sources.list`` says of it for the release *suite*."""
        for pocket in _POCKETS[self.label]:
            name = pocket.format(suite=suite)
            if suite not in _WITHOUT_POCKETS or name == suite:
                yield f"deb [signed-by={KEYRING}] {self.uri} {name} main"


def sources_list(suite: str, scratch: Path) -> str:
    """Return a ``sources.list`` for the release *suite*, with the machine's own mirrors.

    :param scratch: an empty directory to use where the machine has no lists of packages itself.
    :raises ConfigurationError: the machine has no source of Debian packages.
    """
    targets = _index_targets() or _index_targets(_fresh_lists(scratch))
    return format_sources(parse_targets(targets), suite)


def parse_targets(targets: str) -> tuple[Source, ...]:
    """Return Debian's archives among what ``apt-get indextargets`` has printed."""
    rows = (line.split("|") for line in targets.splitlines())
    found = (
        Source(label, uri.rstrip("/"))
        for origin, label, codename, uri in rows
        if origin == _ORIGIN and label in _POCKETS and "backports" not in codename
    )
    return tuple(dict.fromkeys(found))


def format_sources(sources: tuple[Source, ...], suite: str) -> str:
    """Return the text of ``sources.list``.

    :raises ConfigurationError: there is none for Debian itself.
    """
    first = {source.label: source for source in reversed(sources)}
    if _ORIGIN not in first:
        raise ConfigurationError(
            "apt on this machine has no source of Debian packages",
            details="The image is built from the mirror that this machine itself uses.",
            resolution="Add one to /etc/apt/sources.list.d and run: apt-get update",
        )
    lines = (line for label in _POCKETS if label in first for line in first[label].lines(suite))
    return "".join(f"{line}\n" for line in lines)


def _index_targets(options: tuple[str, ...] = ()) -> str:
    apt_get = program("apt-get", package="apt")
    return output_of(
        [apt_get, *options, "indextargets", "--format", _FORMAT, "Created-By: Packages"]
    )


def _fresh_lists(scratch: Path) -> tuple[str, ...]:
    options = _private_state(scratch)
    # Some other source may be out of order; whether Debian's is among the rest will be seen.
    with contextlib.suppress(BuildError):
        run([program("apt-get", package="apt"), *options, "update"])
    return options


def _private_state(directory: Path) -> tuple[str, ...]:
    for name in ("lists/partial", "cache/archives/partial"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    settings = {
        "APT::Sandbox::User": "",
        "Dir::State::Lists": directory / "lists",
        "Dir::Cache": directory / "cache",
        "Acquire::Languages": "none",
    }
    return tuple(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))


def update_lists(sources: Path, state: Path, *, architecture: str, reporter: Reporter) -> Path:
    """Bring the lists of packages up to date; return their directory.

    Where the mirror cannot be reached, those of last time have to do.

    :param sources: a ``sources.list``.
    :param state: a directory that is kept from build to build.
    :raises BuildError: the mirror cannot be reached, and there was no last time.
    """
    options = (
        *_private_state(state),
        *("-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=/dev/null"),
        *("-o", f"APT::Architecture={architecture}", "-o", f"APT::Architectures={architecture}"),
    )
    lists = state / "lists"
    try:
        run(
            [program("apt-get", package="apt"), *options, "--error-on=any", "update"],
            heard=reporter.detail,
        )
    except BuildError as error:
        if not any(lists.glob("*_InRelease")):
            raise
        reporter.note(f"the mirror cannot be used ({error.details}); the lists of last time are")
    return lists
