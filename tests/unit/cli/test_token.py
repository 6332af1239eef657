# SPDX-License-Identifier: GPL-2.0-only
"""The commands that make and revoke tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from latent_libvirt.cli import main
from latent_libvirt.jobs.tokens import LiveTokens, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["token", *arguments, "--file", str(path)])


def test_a_token_is_printed_once_and_works_until_it_is_revoked(path: Path) -> None:
    created = run(path, "create", "ci", "--builder", "check-*", "--builder", "docs")
    secret = created.stdout.strip()
    tokens = LiveTokens(path, lambda: 0)

    assert tokens.authenticate(f"Bearer {secret}").builders == ["check-*", "docs"]
    listed = run(path, "list").stdout
    assert "ci" in listed
    assert "never" in listed
    assert secret not in listed

    assert run(path, "revoke", "ci").stdout == "the token ci is revoked.\n"
    assert read(path) == []
    assert run(path, "list").stdout == "There are none.\n"


def test_it_may_expire(path: Path) -> None:
    run(path, "create", "guest", "--builder", "*", "--days", "2")
    (token,) = read(path)
    assert token.expires == token.created + 2 * 24 * 3600


def test_what_is_wrong_is_told(path: Path) -> None:
    assert "--builder" in run(path, "create", "ci").stderr
    missing = run(path, "revoke", "ci")
    assert missing.exit_code == 1
    assert "cannot be read" in missing.stderr


def test_what_it_may_do_is_said_once_and_shown(path: Path) -> None:
    scope = ["--property", "word*", "--property", "target_branch", "--label", "deb*"]
    run(path, "create", "ci", "--builder", "[a-c]*", *scope, "--max-priority", "7",
        "--max-unfinished", "9")  # fmt: skip
    (token,) = read(path)
    assert (token.properties, token.labels) == (["word*", "target_branch"], ["deb*"])
    assert (token.priority, token.quota) == (7, 9)
    listed = run(path, "list").stdout
    for each in ("[a-c]*", "word* target_branch", "deb*", "<= 7", "<= 9"):
        assert each in listed
