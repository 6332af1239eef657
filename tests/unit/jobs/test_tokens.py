# SPDX-License-Identifier: GPL-2.0-only
"""Tokens, and the file that they are in."""

from __future__ import annotations

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.jobs.tokens import LiveTokens, Scope, create, read, revoke
from latent_libvirt.jobs.tokens import live as live_module
from latent_libvirt.jobs.tokens.file import LARGEST_FILE, Found, found_in
from latent_libvirt.jobs.tokens.live import HALF_WRITTEN
from latent_libvirt.jobs.web.problems import RefusedError


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
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigurationError, match=r"Is a directory\n'ls -l"):
        read(path)


def test_a_file_that_cannot_be_written_is_named_and_not_the_one_beside_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full on paper: root may write anywhere."""

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/another")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError) as raised:
        make(path)

    assert str(raised.value).startswith(f"the token file {path} cannot be written")
    assert "No space left on device" in str(raised.value)
    assert list(path.parent.iterdir()) == []


def test_a_token_that_was_taken_out_by_hand_is_refused_whatever_the_mode_becomes(
    path: Path,
) -> None:
    secret, other = make(path, "leaver"), make(path, "other")
    tokens = live(path)
    assert tokens.authenticate(f"Bearer {secret}").name == "leaver"

    document = json.loads(path.read_text())
    document["tokens"] = [each for each in document["tokens"] if each["name"] != "leaver"]
    path.write_text(json.dumps(document))
    path.chmod(0o644)
    assert status(tokens, f"Bearer {secret}") == 401
    assert tokens.authenticate(f"Bearer {other}").name == "other"
    path.chmod(0o600)
    assert status(tokens, f"Bearer {secret}") == 401
    assert tokens.authenticate(f"Bearer {other}").name == "other"


def test_a_file_for_others_gives_nothing_that_was_not_there_before(path: Path) -> None:
    secret = make(path)
    tokens = live(path)
    tokens.authenticate(f"Bearer {secret}")
    document = json.loads(path.read_text())
    document["tokens"][0]["builders"] = ["*"]
    path.write_text(json.dumps(document))
    path.chmod(0o666)
    assert status(tokens, f"Bearer {secret}") == 401
    path.chmod(0o600)
    assert tokens.authenticate(f"Bearer {secret}").builders == ["*"]


@pytest.mark.parametrize("what", ["fifo", "directory", "huge", "gone", "dangling"])
def test_a_file_that_cannot_be_read_gives_nothing_and_holds_nobody_up(
    path: Path, what: str
) -> None:
    secret = make(path)
    tokens = live(path)
    tokens.authenticate(f"Bearer {secret}")
    content = path.read_bytes()
    path.unlink()
    if what == "fifo":
        os.mkfifo(path, 0o600)
    elif what == "directory":
        path.mkdir()
    elif what == "huge":
        path.write_bytes(content + b" " * LARGEST_FILE)
        path.chmod(0o600)
    elif what == "dangling":
        path.symlink_to("nowhere")
    assert status(tokens, f"Bearer {secret}") == 401


def test_a_file_that_stays_broken_gives_nothing_in_the_end(path: Path) -> None:
    timer = [0.0]
    tokens = LiveTokens(path, lambda: 100, lambda: timer[0])
    secret = make(path)
    tokens.authenticate(f"Bearer {secret}")
    good = path.read_bytes()
    path.write_bytes(good[:-20])
    assert tokens.authenticate(f"Bearer {secret}").name == "ci"
    timer[0] = HALF_WRITTEN
    assert status(tokens, f"Bearer {secret}") == 401
    path.write_bytes(good)
    assert tokens.authenticate(f"Bearer {secret}").name == "ci"


def test_a_change_that_leaves_time_and_size_alone_is_seen(path: Path) -> None:
    secret = make(path)
    tokens = live(path)
    tokens.authenticate(f"Bearer {secret}")
    before = path.stat()
    (token,) = read(path)
    path.write_text(path.read_text().replace(token.sha256, "0" * 64))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert status(tokens, f"Bearer {secret}") == 401


def test_a_token_of_an_earlier_release_has_safe_limits(path: Path) -> None:
    make(path)
    document = json.loads(path.read_text())
    assert set(document["tokens"][0]) == {"name", "sha256", "builders", "created"}
    (token,) = read(path)
    assert (token.priority, token.quota) == (100, 2000)
    assert token.may_ask_for("debian-12")
    assert token.may_set("word")
    assert not token.may_set("target_branch")


def test_what_some_steps_interpret_has_to_be_named_in_full(path: Path) -> None:
    for name, patterns in {"all": ["*"], "full": ["target_branch"]}.items():
        scope = Scope(properties=patterns, labels=["deb*"])
        create(path, name=name, builders=["*"], now=0, expires=None, scope=scope)
    every, full = read(path)
    assert every.may_set("word")
    assert not every.may_set("target_branch")
    assert full.may_set("target_branch")
    assert not full.may_set("word")
    assert full.may_ask_for("debian-12")
    assert not full.may_ask_for("fedora")


def edited(path: Path, **changes: object) -> str:
    """Change the first token of a file by hand; return what is said of the file."""
    document = json.loads(path.read_text())
    document["tokens"][0] |= changes
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match="broken") as raised:
        read(path)
    return str(raised.value.details)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"expires": "2027-01-31"}, "tokens.0.expires: must be a whole number"),
        ({"expires": 1_796_000_000_000}, "tokens.0.expires: must be whole seconds since 1970, up"),
        ({"created": -1}, "tokens.0.created: must be whole seconds since 1970, up"),
        ({"builders": "*"}, "tokens.0.builders: must be a list"),
        ({"builders": []}, "tokens.0.builders: must not be empty"),
        ({"builder": "*"}, "tokens.0.builder: there is no such member"),
        ({"max_unfinished": -1}, "tokens.0.max_unfinished: must be at least 0"),
        ({"name": None}, "tokens.0.name: must be text"),
    ],
)
def test_a_mistake_that_was_made_by_hand_is_said_in_plain_words(
    path: Path, changes: dict[str, object], said: str
) -> None:
    make(path)
    assert edited(path, **changes).startswith(said)


def test_what_is_no_json_says_where(path: Path) -> None:
    make(path)
    path.write_text(path.read_text()[:-3])
    with pytest.raises(ConfigurationError) as raised:
        read(path)
    assert str(raised.value.details).startswith("it is no JSON: ")
    assert "line" in str(raised.value.details)


def test_two_tokens_of_one_name_or_secret_are_refused(path: Path) -> None:
    make(path, "a")
    make(path, "b")
    first, second = read(path)
    assert edited(path, sha256=second.sha256) == "the tokens 'a' and 'b' have one sha256"
    assert edited(path, name="b", sha256=first.sha256) == "2 tokens are called 'b'"


def test_a_member_that_is_there_twice_is_refused(path: Path) -> None:
    make(path)
    path.write_text(path.read_text().replace('"builders"', '"builders": ["*"], "builders"'))
    with pytest.raises(ConfigurationError, match="'builders' is there more than once"):
        read(path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Give the files that masters read from now on; all of them were changed a while ago."""
    reads: list[Path] = []

    def found(path: Path) -> Found:
        reads.append(path)
        return found_in(path)

    monkeypatch.setattr(live_module, "found_in", found)
    monkeypatch.setattr(LiveTokens, "_is_settled", lambda _self, _seen: True)
    return reads


def test_a_large_file_for_others_is_read_once_and_keeps_nobody_waiting(
    path: Path, reads: list[Path]
) -> None:
    """Comparing each token with each would take minutes, in which the master does nothing else."""
    secret = make(path)
    document = json.loads(path.read_text())
    (one,) = document["tokens"]
    many = [one | {"name": f"t{n}", "sha256": f"{n:064x}"} for n in range(10_000)]
    document["tokens"] = [*many, one]
    path.write_text(json.dumps(document))
    tokens = live(path)
    tokens.authenticate(f"Bearer {secret}")
    path.chmod(0o644)
    reads.clear()

    for _ in range(3):
        assert tokens.authenticate(f"Bearer {secret}").name == "ci"

    assert reads == [path]


def test_a_broken_file_is_read_once_however_many_ask(path: Path, reads: list[Path]) -> None:
    timer = [0.0]
    tokens = LiveTokens(path, lambda: 100, lambda: timer[0])
    secret = make(path)
    tokens.authenticate(f"Bearer {secret}")
    good = path.read_bytes()
    path.write_bytes(good[:-20])
    reads.clear()

    for timer[0] in (0, HALF_WRITTEN - 1):
        assert tokens.authenticate(f"Bearer {secret}").name == "ci"
    timer[0] = HALF_WRITTEN
    assert status(tokens, f"Bearer {secret}") == 401
    assert reads == [path]
    path.write_bytes(good)
    assert tokens.authenticate(f"Bearer {secret}").name == "ci"
