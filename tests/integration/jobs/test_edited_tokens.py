# SPDX-License-Identifier: GPL-2.0-only
"""Token files that somebody edits by hand, or that an earlier release has written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from job_masters import JobMaster

COMMAND = Path(sys.executable).with_name("latent-libvirt")

OLD_SECRET = "llj_RaMBfaFUdhKnRyrBZSfPOb3BIJl_yhrpTeZ3gr8UXSk"
OLD = """
{"name": "old", "sha256": "2141267d16cb005add5d33897af7bed5ff69fa75a5d9c3f8e2d2c6c835497192",
 "builders": ["check"], "created": 1700000000, "expires": null}
"""
"""A token as the first release wrote it, which knew no limits. Its secret is for this test only."""


@pytest.fixture
def path(master: JobMaster) -> Iterator[Path]:
    """Give the token file of a running master; have it back as it was afterwards."""
    path = master.directory / "tokens.json"
    before = path.read_bytes()
    yield path
    path.write_bytes(before)
    path.chmod(0o600)


def edit(path: Path, tokens: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps({"tokens": tokens}))


def tokens(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())["tokens"])


def test_a_token_that_was_taken_out_by_hand_is_refused_whatever_the_mode_becomes(
    master: JobMaster, path: Path
) -> None:
    leaver = master.make_token("leaver")
    assert master.post(token=leaver, builder="check").status == 201

    edit(path, [each for each in tokens(path) if each["name"] != "leaver"])
    for mode in (0o644, 0o600):
        path.chmod(mode)
        assert master.post(token=leaver, builder="check").status == 401, oct(mode)
        assert master.post(builder="check").status == 201, oct(mode)

    listed = subprocess.run(
        [COMMAND, "token", "list", "--file", path], check=True, capture_output=True, text=True
    )
    assert "leaver" not in listed.stdout
    assert "tests" in listed.stdout


def test_a_token_of_the_first_release_works_on_with_safe_limits(
    master: JobMaster, path: Path
) -> None:
    edit(path, [*tokens(path), json.loads(OLD)])

    def status(**body: Any) -> int:
        return master.post(token=OLD_SECRET, builder="check", **body).status

    assert status(priority=100, properties={"word": "x", "label": "debian-12"}) == 201
    assert status(priority=101) == 403
    assert status(properties={"target_branch": "x"}) == 422
    assert master.post(token=OLD_SECRET, builder="fail").status == 403
