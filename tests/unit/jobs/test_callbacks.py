# SPDX-License-Identifier: GPL-2.0-only
"""When a result is told, again, or no more."""

from __future__ import annotations

from collections import Counter

import pytest
from buildbot.db.model import Model
from hypothesis import given, settings
from hypothesis import strategies as st

from job_records import UUID, Tables
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.jobs.callbacks import (
    MOST_OF_A_RECEIVER,
    Due,
    _does_another_wait,
    _take,
    headers,
    in_short,
    normal,
    outcome,
    receiver,
)
from latent_libvirt.jobs.table import jobs

DAY = 24 * 3600


def test_a_success_is_the_end() -> None:
    values = outcome(Due("u", "http://x", tries=2, finished_at=0), "", 100)
    assert values == {
        "callback_due": None,
        "callback_done_at": 100,
        "callback_error": None,
        "callback_tries": 3,
    }


@given(st.integers(0, 10**9))
@settings(deadline=None)
def test_a_failure_is_tried_again_for_a_day_in_growing_steps(finished_at: int) -> None:
    now, pauses = finished_at, []
    for tries in range(200):
        values = outcome(Due("u", "http://x", tries, finished_at), "no answer", now)
        if values["callback_due"] is None:
            break
        pauses.append(values["callback_due"] - now)
        now = values["callback_due"]
    assert pauses[0] == 5
    assert pauses == sorted(pauses)
    assert max(pauses) == 3600
    assert DAY - 3600 <= now - finished_at <= DAY
    assert values["callback_error"] == "no answer"


def test_why_a_call_has_failed_is_short_text_whatever_a_receiver_answers() -> None:
    assert in_short("ParseError: \0\ud800" + "x" * 16384)[:30] == r"ParseError: \x00\ud800xxxxxxxx"
    assert len(in_short("x" * 16384)) == 500


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # An example that its authors have published.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    head = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', secret)
    assert head["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_secret_nothing_is_signed() -> None:
    assert "webhook-signature" not in headers("id", 1, b"", None)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_!!!", ""])
def test_a_secret_that_is_no_key_signs_nothing(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="callback_secret must have"):
        headers("id", 1, b"", secret)


def add_due(
    tables: Tables, number: int, url: str, *, due: int | None = None, tries: int = 0
) -> None:
    """Add a finished job whose result is to be told.

    :param due: when; in the order of the numbers, if not given.
    """
    buildset = tables.add(Model.buildsets, submitted_at=0, complete=1, results=0)
    builder = tables.add_builder(f"b{number}")
    tables.add(
        Model.buildrequests,
        buildsetid=buildset,
        builderid=builder,
        priority=0,
        complete=1,
        complete_at=5,
        results=0,
        submitted_at=0,
        waited_for=0,
    )
    tables.add(
        jobs,
        uuid=UUID[:-4] + f"{number:04}",
        buildsetid=buildset,
        digest="",
        token="t",
        accepted_at=0,
        callback_url=url,
        callback_due=number if due is None else due,
        callback_tries=tries,
    )


def test_many_of_one_receiver_do_not_hide_what_is_due_of_another(tables: Tables) -> None:
    for number in range(250):
        add_due(tables, number, "http://slow:1/x")
    add_due(tables, 900, "http://slow:10/x")

    taken = _take(tables.connection, 1000, 64, Counter())

    counted = Counter(receiver(due.url) for due in taken)
    assert counted == {"http://slow:1": MOST_OF_A_RECEIVER, "http://slow:10": 1}
    told = Counter({"http://slow:1": MOST_OF_A_RECEIVER})
    assert _take(tables.connection, 1000, 64, told) == []
    assert _does_another_wait(tables.connection, 1000, []) is True
    assert _does_another_wait(tables.connection, 1000, ["http://slow:1"]) is False


def test_a_receiver_is_what_comes_before_the_path() -> None:
    for rest in ("", "/", "/a/b?c", "?a=b://c/", "#x"):
        assert receiver("http://host:1" + rest) == "http://host:1"


def test_a_receiver_has_one_name_however_a_client_writes_it() -> None:
    for written in ("http://HOST/A", "http://host:80/A", "HTTP://host:/A", "http://Host:0080/A"):
        assert normal(written) == "http://host/A"
    assert normal("https://[::1]:0443?B=C:80") == "https://[::1]?B=C:80"
    assert normal("http://[::1]/x") == "http://[::1]/x"
    assert normal("https://h:80#x") == "https://h:80#x"


@pytest.mark.parametrize("tries", range(16))
def test_a_callback_is_not_late_when_the_clock_has_been_set_back(
    tables: Tables, tries: int
) -> None:
    now = 2 * DAY
    due = now + 60  # another master has it
    if tries:
        due = outcome(Due("u", "http://x", tries - 1, now), "no answer", now)["callback_due"]
    add_due(tables, 1, "http://x", due=due, tries=tries)

    assert not _take(tables.connection, now, 64, Counter())
    assert not _take(tables.connection, now - 60, 64, Counter()), "clocks differ by so much"
    assert [each.tries for each in _take(tables.connection, now - 3600, 64, Counter())] == [tries]
