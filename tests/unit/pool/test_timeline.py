# SPDX-License-Identifier: GPL-2.0-only
"""Where the time goes."""

from __future__ import annotations

from twisted.internet.task import Clock

from latent_libvirt.pool.timeline import Timeline


def test_each_phase_ends_where_the_next_begins() -> None:
    clock = Clock()
    timeline = Timeline(clock.seconds)

    timeline.enter("clone")
    clock.advance(1)
    timeline.enter("boot")
    clock.advance(20)
    timeline.finish()
    clock.advance(100)

    assert timeline.phases == {"clone": 1, "boot": 20}
    assert str(timeline) == "clone 1.00 s, boot 20.00 s"


def test_a_phase_entered_again_adds_up() -> None:
    clock = Clock()
    timeline = Timeline(clock.seconds)

    for phase in ("boot", "clone", "boot"):
        timeline.enter(phase)
        clock.advance(2)
    timeline.finish()

    assert timeline.phases == {"boot": 4, "clone": 2}


def test_the_current_phase_does_not_count_yet() -> None:
    clock = Clock()
    timeline = Timeline(clock.seconds)
    timeline.enter("build")
    clock.advance(5)

    assert timeline.phases == {}
    assert timeline.current == ("build", 5)


def test_it_knows_its_age_also_between_phases() -> None:
    clock = Clock()
    clock.advance(1000)
    timeline = Timeline(clock.seconds)
    clock.advance(1)
    timeline.enter("build")
    clock.advance(2)
    timeline.finish()
    clock.advance(4)

    assert timeline.age == 7
    assert timeline.current is None
