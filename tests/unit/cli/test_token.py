# SPDX-License-Identifier: GPL-2.0-only
"""The commands that make and revoke tokens."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize(
    "arguments",
    [
        ("--builder", ""),
        ("--builder", "\udcff"),
        ("--builder", "x" * 300),
        ("--builder", "*", "--label", "\udcff"),
        ("--builder", "*", "--property", ""),
    ],
)
def test_a_pattern_that_would_break_the_file_or_match_nothing_changes_nothing(
    path: Path, arguments: tuple[str, ...]
) -> None:
    run(path, "create", "good", "--builder", "*")
    before = path.read_bytes()

    refused = run(path, "create", "bad", *arguments)

    assert refused.exit_code == 1
    assert "no pattern of a" in refused.stderr
    assert len(refused.stderr) < 500
    assert path.read_bytes() == before


def test_a_token_that_would_make_the_file_too_large_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(path, "create", "good", "--builder", "*")
    before = path.read_bytes()
    monkeypatch.setattr("latent_libvirt.jobs.tokens.file.LARGEST_FILE", len(before) + 10)

    refused = run(path, "create", "more", "--builder", "*")

    assert refused.exit_code == 1
    assert "would be larger" in refused.stderr
    assert path.read_bytes() == before


def test_a_time_that_is_in_no_calendar_is_refused(path: Path) -> None:
    assert "--days" in run(path, "create", "ci", "--builder", "*", "--days", "99999999").stderr

    run(path, "create", "ci", "--builder", "*")
    text = json.loads(path.read_text())
    text["tokens"][0] |= {"created": 10**20, "expires": -(10**14)}
    path.write_text(json.dumps(text))

    listed = run(path, "list")
    assert listed.exit_code == 1
    assert "tokens.0.expires: must be whole seconds since 1970" in " ".join(listed.stderr.split())


def test_what_is_wrong_with_a_file_cannot_command_a_terminal(path: Path) -> None:
    path.write_text('{"\\u001b[31mevil": 1}')
    path.chmod(0o600)

    listed = run(path, "list")

    assert "is broken" in listed.stderr
    assert "\x1b" not in listed.stderr
