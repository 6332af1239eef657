# SPDX-License-Identifier: GPL-2.0-only
"""When a result is told, again, or no more."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from latent_libvirt.jobs.callbacks import Due, headers, outcome

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


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # An example that its authors have published.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    head = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', secret)
    assert head["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_secret_nothing_is_signed() -> None:
    assert "webhook-signature" not in headers("id", 1, b"", None)
