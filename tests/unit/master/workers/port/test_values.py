# SPDX-License-Identifier: GPL-2.0-only
"""What a worker's message may hold, in Twisted's own words for it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.python.failure import Failure
from twisted.spread import jelly, pb
from twisted.spread.banana import BananaError

from latent_libvirt.master.workers.port import values

MOST = 1024 * 1024


def laughs(levels: int, *, each: int = 10) -> list[Any]:
    """Return lists within a list, each of which has the one before it some times."""
    lists: list[Any] = [b"list", [b"reference", 1, [b"list", b"ha", b"ha"]]]
    for level in range(2, levels + 1):
        one_before = [[b"dereference", level - 1]] * each
        lists.append([b"reference", level, [b"list", *one_before]])
    return lists


@pytest.mark.parametrize(
    "message",
    {
        "lists of lists": laughs(9),
        "a long text many times": [
            b"list",
            [b"reference", 1, [b"unicode", b"x" * 600_000]],
            [b"dereference", 1],
        ],
        "a list that has itself": [b"reference", 1, [b"list", [b"dereference", 1]]],
        "what comes later": [b"list", [b"dereference", 1], [b"reference", 1, [b"list"]]],
        "nothing": [b"dereference"],
        "a name that is none": [b"list", [b"reference", 1.0, [b"list"]], [b"dereference", 1.0]],
        "a name that cannot be one": [b"dereference", [b"list"]],
    }.items(),
    ids=lambda message: message[0],
)
def test_a_message_that_refers_to_itself_is_no_larger_than_another(
    message: tuple[str, list[Any]],
) -> None:
    with pytest.raises(BananaError):
        values.check_size(message[1], MOST)


def test_a_table_that_a_worker_sends_twice_is_taken() -> None:
    table = {"a": 1, "b": [True, None, 0.5, "é", b"\xff"]}
    message: Any = jelly.jelly([table, table, (table, ())])  # type: ignore[no-untyped-call]

    values.check_size(message, MOST)

    assert values.make(message, None) == [table, table, (table, ())]


@pytest.mark.parametrize(
    "message",
    [
        [b"decimal", 1, 999_999_999],
        [b"twisted.web.server.Request", [b"dictionary"]],
        [b"instance", [b"class", b"os.PathLike"], [b"dictionary"]],
        [b"module", b"os"],
        [b"function", b"os.system"],
        [b"cached", 1],
        [b"lcache", 1],
        [b"method", b"x", [b"None"], [b"None"]],
        [["list"]],
        [5],
    ],
    ids=str,
)
def test_what_no_worker_sends_is_refused(message: list[Any]) -> None:
    import twisted.web.distrib  # noqa: F401, PLC0415 - it registers its class of requests

    with pytest.raises(jelly.InsecureJelly):
        values.make(message, None)


def test_a_failure_of_a_worker_is_taken() -> None:
    broker: Any = pb.Broker()  # type: ignore[no-untyped-call]
    copy: Any = pb.failure2Copyable(Failure(ValueError("no such folder")))  # type: ignore[no-untyped-call]

    failure = values.make(broker.serialize(copy), broker)

    assert isinstance(failure, pb.CopiedFailure)
    assert str(failure.value) == "no such folder"
