# SPDX-License-Identifier: GPL-2.0-only
"""Tokens, and the file that they are in."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.jobs.problems import RefusedError
from latent_libvirt.jobs.tokens import LiveTokens, create, read, revoke


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def make(path: Path, name: str = "ci", *, expires: float | None = None) -> str:
    return create(path, name=name, builders=["check-*"], now=100, expires=expires)


def live(path: Path, now: float = 100) -> LiveTokens:
    return LiveTokens(path, lambda: now)


def status(tokens: LiveTokens, authorization: str | None) -> int:
    with pytest.raises(RefusedError) as raised:
        tokens.authenticate(authorization)
    return raised.value.status


def test_a_token_is_known_by_its_secret_which_is_kept_nowhere(path: Path) -> None:
    secret = make(path)

    assert live(path).authenticate(f"Bearer {secret}").name == "ci"
    assert secret.removeprefix("llj_") not in path.read_text()
    assert len(secret) >= 4 + 43  # 256 bits
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_two_are_alike(path: Path) -> None:
    assert make(path, "a") != make(path, "b")


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer llj_wrong", "Bearer é"]
)
def test_anything_else_is_refused(path: Path, authorization: str | None) -> None:
    make(path)
    assert status(live(path), authorization) == 401


def test_it_expires(path: Path) -> None:
    secret = make(path, expires=200)
    assert live(path, 199).authenticate(f"bearer {secret}").name == "ci"
    assert status(live(path, 200), f"Bearer {secret}") == 401


def test_it_is_for_its_builders_alone(path: Path) -> None:
    make(path)
    (token,) = read(path)
    assert token.may_use("check-debian")
    assert not token.may_use("release")
    assert not token.may_use("Check-debian")


def test_a_change_of_the_file_counts_at_once(path: Path) -> None:
    tokens = live(path)
    assert status(tokens, "Bearer x") == 401
    secret = make(path)
    assert tokens.authenticate(f"Bearer {secret}").name == "ci"
    revoke(path, "ci")
    assert status(tokens, f"Bearer {secret}") == 401
    another = make(path)
    path.unlink()
    assert status(tokens, f"Bearer {another}") == 401


def test_a_file_that_is_broken_does_not_lock_everybody_out(path: Path) -> None:
    tokens = live(path)
    secret = make(path)
    tokens.authenticate(f"Bearer {secret}")
    path.write_text("{")
    assert tokens.authenticate(f"Bearer {secret}").name == "ci"


def test_a_file_that_others_can_read_is_refused(path: Path) -> None:
    secret = make(path)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read(path)
    assert status(live(path), f"Bearer {secret}") == 401


@pytest.mark.parametrize("name", ["", "with space", "x" * 101, "new\nline"])
def test_a_name_that_nobody_could_type_is_refused(path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="no good name"):
        make(path, name)
    assert not path.exists()


def test_a_name_is_used_once(path: Path) -> None:
    make(path)
    with pytest.raises(ConfigurationError, match="already"):
        make(path)
    with pytest.raises(ConfigurationError, match="There is: ci"):
        revoke(path, "nobody")


def test_many_that_are_made_at_once_are_all_there(path: Path) -> None:
    names = [f"t{n}" for n in range(30)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: make(path, name), names))
    assert sorted(token.name for token in read(path)) == sorted(names)
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


def test_what_cannot_be_used_says_what_to_do(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="token create"):
        read(path)
    path.write_text(json.dumps({"tokens": [{"name": "x"}]}))
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="broken"):
        read(path)
    with pytest.raises(ConfigurationError, match="no directory"):
        make(path / "deeper" / "tokens.json")
