# SPDX-License-Identifier: GPL-2.0-only
"""What the proxy keeps of packages, and when it asks the destination again.

Files are real. The guest's connection and the way to destinations are those of
``test_connection.py``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.internet.task import Clock

from latent_libvirt.config import DestinationConfig
from latent_libvirt.host.proxy.connection import IDLE_TIMEOUT, UNSENT, Proxy
from latent_libvirt.host.proxy.file_cache import FileCache
from latent_libvirt.host.proxy.policy import Policy
from latent_libvirt.host.proxy.record import Record
from proxied import FILES, Guest, Resolver

DEB = b"GET http://files.example/pool/a/a_1_all.deb HTTP/1.1\r\nHost: files.example\r\n%s\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: x\r\n\r\nhello"
UNCHANGED = b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"
MIB = 2**20


class AtOnce(FileCache):
    """A cache whose calls need no thread, so that a test can follow them."""

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return execute(function, *arguments)


class Build:
    """A guest that fetches through the cache."""

    def __init__(self, cache: FileCache, destination: DestinationConfig = FILES) -> None:
        self.guest = Guest()
        self.resolver = Resolver()
        self.record = Record()
        self.clock = Clock()
        policy = Policy("hermetic", [destination])
        shared: Any = (policy, self.record, self.resolver, self.clock, cache)
        guest: Any = self.guest
        self._connection = Proxy(*shared).connection(guest)

    def fetch(self, request: bytes, answer: bytes = b"") -> bytes:
        """Return what the guest gets."""
        self.begin(request, answer)
        self.go()
        return self.guest.outgoing

    def begin(self, request: bytes, answer: bytes) -> None:
        """Ask, and get that much of an answer."""
        self.guest.incoming += request
        self._connection.has_data()
        if self.resolver.far:
            self.resolver.far[-1].dataReceived(answer)

    def go(self) -> None:
        """End the guest's connection."""
        self._connection.lost()

    @property
    def asked(self) -> bytes:
        """What the destination was asked; nothing if it was not."""
        return b"".join(far.transport.value() for far in self.resolver.far)  # type: ignore[union-attr]


@pytest.fixture
def cache(tmp_path: Path) -> AtOnce:
    return AtOnce(tmp_path / "fetched", lambda: MIB, reactor=the_reactor)


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "fetched").glob("*"))


def test_the_second_build_gets_a_package_from_the_cache(cache: AtOnce) -> None:
    first, second = Build(cache), Build(cache)
    got = first.fetch(DEB % b"", ANSWER)

    assert second.fetch(DEB % b"", UNCHANGED) == got == ANSWER
    assert b"If-None-Match: x\r\n" in second.asked
    (fetch,) = second.record.fetches
    assert (fetch.status, fetch.received, fetch.is_cached) == (200, 5, True)
    assert fetch.sha256 == first.record.fetches[0].sha256
    assert str(fetch).endswith("via 192.0.2.7 from the cache")


def test_a_package_that_changed_is_fetched_again(cache: AtOnce) -> None:
    newer = ANSWER.replace(b"hello", b"world").replace(b"ETag: x", b"ETag: y")
    Build(cache).fetch(DEB % b"", ANSWER)

    assert Build(cache).fetch(DEB % b"", newer) == newer
    assert Build(cache).fetch(DEB % b"", UNCHANGED) == newer


def by_digest(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest().encode()
    return DEB.replace(b"pool/a/a_1_all.deb", b"dists/by-hash/SHA256/" + digest) % b""


def test_nobody_is_asked_about_a_file_that_is_named_by_its_digest(cache: AtOnce) -> None:
    url = by_digest(b"hello")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    Build(cache).fetch(url, answer)
    second = Build(cache)

    assert second.fetch(url) == answer
    assert second.resolver.asked == []
    assert str(second.record.fetches[0]).endswith(" from the cache")


def test_a_file_that_is_not_what_its_name_says_is_not_kept(cache: AtOnce, tmp_path: Path) -> None:
    Build(cache).fetch(by_digest(b"hello"), ANSWER.replace(b"hello", b"error"))

    assert kept(tmp_path) == []


def test_what_is_kept_has_nothing_of_the_guest_that_asked_first(cache: AtOnce) -> None:
    build = Build(cache)
    build.fetch(DEB % b"X-Forwarded-Host: evil.example\r\nAccept-Language: cs\r\n", ANSWER)

    assert build.asked == (
        b"GET /pool/a/a_1_all.deb HTTP/1.1\r\nHost: files.example\r\nUser-Agent: latent_libvirt\r\n"
        b"Accept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    "header",
    ["Authorization: Basic x", "Cookie: a=b", "Range: bytes=1-2", "Cache-Control: no-cache"],
)
def test_a_request_of_one_guest_alone_goes_past_the_cache(
    cache: AtOnce, tmp_path: Path, header: str
) -> None:
    build = Build(cache)
    build.fetch(DEB % f"{header}\r\n".encode(), ANSWER)

    assert header.encode() in build.asked
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example/",
        "http://files.example/a.deb?token=1",
        "http://files.example/main.tar.gz",
    ],
)
def test_what_is_no_package_goes_past_the_cache(cache: AtOnce, tmp_path: Path, url: str) -> None:
    Build(cache).fetch(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), ANSWER)

    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"200 OK", b"404 Not Found"),
        (b"ETag: x", b"X: nothing to ask about later"),
        (b"ETag: x", b"ETag: x\r\nCache-Control: max-age=9, private"),
        (b"ETag: x", b"ETag: x\r\nCache-Control: no-store"),
        (b"ETag: x", b"ETag: x\r\nSet-Cookie: a=b"),
        (b"ETag: x", b"ETag: x\r\nVary: *"),
        (b"Content-Length: 5\r\n", b""),
        (b"hello", b"hell"),
    ],
)
def test_a_response_that_is_not_for_all_or_not_whole_is_not_kept(
    cache: AtOnce, tmp_path: Path, old: bytes, new: bytes
) -> None:
    Build(cache).fetch(DEB % b"", ANSWER.replace(old, new))

    assert kept(tmp_path) == []


def guest_goes(build: Build) -> None:
    build.go()


def destination_goes(build: Build) -> None:
    build.resolver.far[-1].connectionLost()


def nothing_comes(build: Build) -> None:
    build.clock.advance(IDLE_TIMEOUT)
    build.clock.advance(IDLE_TIMEOUT)


HALVES = [
    ANSWER[:-2],
    ANSWER.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")[:-5] + b"5\r\nhello\r\n",
]


@pytest.mark.parametrize("end", [guest_goes, destination_goes, nothing_comes])
@pytest.mark.parametrize("half", HALVES, ids=["length", "chunks"])
def test_a_download_that_was_aborted_is_nothing_that_others_get(
    cache: AtOnce, tmp_path: Path, end: Callable[[Build], None], half: bytes
) -> None:
    first = Build(cache)
    first.begin(DEB % b"", half)
    assert kept(tmp_path)  # it is on its way
    end(first)

    assert kept(tmp_path) == []
    assert cache.unfinished == 0
    second = Build(cache)
    assert second.fetch(DEB % b"", ANSWER) == ANSWER
    assert b"If-None-Match" not in second.asked


def test_an_aborted_download_leaves_what_another_guest_fetches_at_the_same_time(
    cache: AtOnce,
) -> None:
    first, second = Build(cache), Build(cache)
    first.begin(DEB % b"", ANSWER[:-2])
    second.begin(DEB % b"", ANSWER)
    first.go()

    assert second.guest.outgoing == ANSWER
    assert Build(cache).fetch(DEB % b"", UNCHANGED) == ANSWER


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER + b"HTTP/1.1 200 OK\r\n\r\nmore",
        ANSWER.replace(b"hello", b"hello, longer than announced"),
    ],
)
def test_a_response_that_is_longer_than_it_says_is_no_part_of_what_others_get(
    cache: AtOnce, answer: bytes
) -> None:
    assert Build(cache).fetch(DEB % b"", answer) == ANSWER
    assert Build(cache).fetch(DEB % b"", UNCHANGED) == ANSWER


def test_a_name_that_may_be_private_is_another_one(cache: AtOnce) -> None:
    inside = FILES.model_copy(update={"private": True})
    Build(cache, inside).fetch(DEB % b"", ANSWER)
    other = Build(cache)
    other.fetch(DEB % b"")

    assert b"If-None-Match" not in other.asked


def test_a_damaged_file_is_fetched_again(cache: AtOnce, tmp_path: Path) -> None:
    Build(cache).fetch(DEB % b"", ANSWER)
    (file,) = kept(tmp_path)
    file.write_bytes(b"\0\1\2")

    assert Build(cache).fetch(DEB % b"", ANSWER) == ANSWER
    assert file.read_bytes() == ANSWER


@pytest.mark.parametrize("damaged", [b"hell", b"hallo"], ids=["cut", "changed"])
def test_a_file_that_turns_out_to_be_damaged_is_given_once(
    cache: AtOnce, tmp_path: Path, damaged: bytes
) -> None:
    url = by_digest(b"hello")
    Build(cache).fetch(url, ANSWER)
    (file,) = kept(tmp_path)
    file.write_bytes(ANSWER.replace(b"hello", damaged))

    assert Build(cache).fetch(url).endswith(damaged)
    assert kept(tmp_path) == []
    assert Build(cache).fetch(url, ANSWER) == ANSWER


def test_a_guest_that_goes_while_it_reads_a_file_does_not_delete_it(
    cache: AtOnce, tmp_path: Path
) -> None:
    content = b"x" * 200_000
    url = by_digest(content)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + content
    Build(cache).fetch(url, answer)
    second = Build(cache)
    second.guest.unsent = UNSENT + 1
    second.begin(url, b"")
    second.go()

    assert 0 < len(second.guest.outgoing) < len(answer)
    assert Build(cache).fetch(url) == answer


def test_the_oldest_go_when_there_is_no_space(tmp_path: Path) -> None:
    cache = AtOnce(tmp_path / "fetched", lambda: 2 * len(ANSWER), reactor=the_reactor)
    urls = [DEB.replace(b"a_1", f"a_{n}".encode()) % b"" for n in range(3)]
    for age, url in enumerate(urls[:2]):
        Build(cache).fetch(url, ANSWER)
        for file in kept(tmp_path):
            os.utime(file, (file.stat().st_mtime - 10 + age,) * 2)
    Build(cache).fetch(urls[0], UNCHANGED)  # it was used, so it is not the oldest any more
    Build(cache).fetch(urls[2], ANSWER)
    asked = [Build(cache) for _ in urls]
    for build, url in zip(asked, urls, strict=True):
        build.fetch(url)

    assert [b"If-None-Match" in build.asked for build in asked] == [True, False, True]


def test_without_space_nothing_is_kept(tmp_path: Path) -> None:
    cache = AtOnce(tmp_path / "fetched", lambda: 0, reactor=the_reactor)

    assert Build(cache).fetch(DEB % b"", ANSWER) == ANSWER
    assert kept(tmp_path) == []


def test_a_file_larger_than_the_space_is_not_kept(tmp_path: Path) -> None:
    cache = AtOnce(tmp_path / "fetched", lambda: len(ANSWER) - 1, reactor=the_reactor)

    assert Build(cache).fetch(DEB % b"", ANSWER) == ANSWER
    assert kept(tmp_path) == []


def test_a_disk_that_takes_no_more_does_not_disturb_the_guest(
    cache: AtOnce, tmp_path: Path
) -> None:
    (tmp_path / "fetched").write_text("in the way")

    assert Build(cache).fetch(DEB % b"", ANSWER) == ANSWER


@pytest.fixture
def threaded(tmp_path: Path) -> Iterator[FileCache]:
    cache = FileCache(tmp_path / "fetched", lambda: MIB, reactor=the_reactor)
    yield cache
    cache.stop()


@pytest_twisted.ensureDeferred
async def test_what_a_killed_master_has_left_goes(threaded: FileCache, tmp_path: Path) -> None:
    (tmp_path / "fetched").mkdir()
    (tmp_path / "fetched/x.part").write_text("half")
    copy = threaded.begin("key")
    assert copy is not None
    copy.add(b"what ")
    copy.add(b"comes")
    copy.finish()
    found = await threaded.find("key")

    assert found is not None
    with found:
        assert found.read() == b"what comes"
    assert len(kept(tmp_path)) == 1


def test_responses_that_come_at_the_same_time_take_the_space_once(tmp_path: Path) -> None:
    cache = AtOnce(tmp_path / "fetched", lambda: 1000, reactor=the_reactor)
    copies = [cache.begin(f"key {number}") for number in range(5)]
    for copy in copies:
        assert copy is not None
        copy.add(bytes(400))

    assert sum(file.stat().st_size for file in kept(tmp_path)) <= 1000
    for copy in copies:
        assert copy is not None
        copy.drop()
    assert cache.unfinished == 0
    assert kept(tmp_path) == []


def test_less_space_deletes_what_is_there(tmp_path: Path) -> None:
    space = MIB
    cache = AtOnce(tmp_path / "fetched", lambda: space, reactor=the_reactor)
    Build(cache).fetch(DEB % b"", ANSWER)
    assert kept(tmp_path)

    space = 0
    cache.shrink()

    assert kept(tmp_path) == []


@pytest_twisted.ensureDeferred
async def test_a_cache_that_has_stopped_begins_no_thread_and_leaves_no_file_open(
    tmp_path: Path,
) -> None:
    cache = FileCache(tmp_path / "fetched", lambda: MIB, reactor=the_reactor)
    (tmp_path / "fetched").mkdir()
    found = (tmp_path / "file").open("w+b")
    copy = cache.begin("key")
    assert copy is not None

    cache.stop()
    cache.close(found)
    copy.add(b"data")
    copy.finish()

    assert found.closed
    assert cache._calls is None
    with pytest.raises(CancelledError):
        await cache.find("key")
    assert cache.unfinished == 0
