# SPDX-License-Identifier: GPL-2.0-only
"""Which of a machine's package sources get into an image."""

from __future__ import annotations

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import apt
from latent_libvirt.images.apt import Source

TARGETS = """\
Node|Node|nodistro|https://node.example/node_20.x/
Debian|Debian|bookworm|http://mirror.example/debian/
Debian|Debian|bookworm-updates|http://mirror.example/debian/
Debian Backports|Debian Backports|bookworm-backports|http://mirror.example/debian/
Debian|Debian-Security|bookworm-security|http://mirror.example/debian-security/
apt.example.org|apt.example.org|bookworm-pgdg|https://apt.example.org/
"""


def test_only_debians_own_archives_are_used() -> None:
    assert apt.parse_targets(TARGETS) == (
        Source("Debian", "http://mirror.example/debian"),
        Source("Debian-Security", "http://mirror.example/debian-security"),
    )


def test_the_lists_are_those_of_the_release_of_the_image() -> None:
    text = apt.format_sources(apt.parse_targets(TARGETS), "bookworm")

    assert text == (
        f"deb [signed-by={apt.KEYRING}] http://mirror.example/debian bookworm main\n"
        f"deb [signed-by={apt.KEYRING}] http://mirror.example/debian bookworm-updates main\n"
        f"deb [signed-by={apt.KEYRING}] http://mirror.example/debian-security"
        " bookworm-security main\n"
    )


def test_the_unstable_release_has_no_updates_beside_it() -> None:
    text = apt.format_sources(apt.parse_targets(TARGETS), "sid")

    assert text == f"deb [signed-by={apt.KEYRING}] http://mirror.example/debian sid main\n"


def test_a_machine_of_another_release_serves_as_well() -> None:
    text = apt.format_sources((Source("Debian", "http://mirror.example/debian"),), "bookworm")

    assert "debian bookworm main" in text
    assert "security" not in text


def test_of_several_mirrors_the_first_counts() -> None:
    sources = (Source("Debian", "http://first.example"), Source("Debian", "http://next.example"))

    assert "next" not in apt.format_sources(sources, "bookworm")


@pytest.mark.parametrize("targets", ["", TARGETS.splitlines()[0]])
def test_a_machine_without_debian_sources_is_told_what_to_do(targets: str) -> None:
    with pytest.raises(ConfigurationError, match="no source of Debian packages"):
        apt.format_sources(apt.parse_targets(targets), "bookworm")
