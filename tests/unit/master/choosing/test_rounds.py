# SPDX-License-Identifier: GPL-2.0-only
"""Where a search that takes several tries goes on, and when it begins once more."""

from __future__ import annotations

from latent_libvirt.master.choosing.rounds import Rounds


def test_a_round_goes_on_where_it_has_stopped_and_the_next_one_begins_at_the_first() -> None:
    rounds = Rounds()
    assert rounds.after("check") is None

    rounds.stop("check", (0.0, 50))
    assert rounds.after("check") == (0.0, 50)
    assert rounds.after("docs") is None

    assert not rounds.end("check")
    assert rounds.after("check") is None


def test_who_asks_in_the_middle_of_a_round_gets_another_one() -> None:
    rounds = Rounds()
    rounds.asked(["check"])
    rounds.after("check")
    rounds.stop("check", (0.0, 50))
    rounds.asked(["check", "docs"])

    assert rounds.end("check")
    assert not rounds.end("check")


def test_a_round_of_one_try_has_seen_all_that_was_there_when_it_began() -> None:
    rounds = Rounds()
    rounds.after("check")
    rounds.asked(["check"])

    assert not rounds.end("check")
