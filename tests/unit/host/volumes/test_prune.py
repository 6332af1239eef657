# SPDX-License-Identifier: GPL-2.0-only
"""What of a storage pool's images is kept, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.config import PoolConfig
from latent_libvirt.host.volumes.prune import (
    LEFTOVER_AGE,
    Needs,
    StoredImage,
    judge,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NOTHING = Needs(keep=1, pins=frozenset(), volumes=frozenset())


def image(digit: str, *, name: str = "debian-12", days: int = 30) -> StoredImage:
    """Return a whole image that was built and published so many days ago."""
    when = NOW - timedelta(days=days)
    prefix = f"latent-libvirt.image.{name}.{digit * 16}"
    return StoredImage(
        name=name,
        digest=digit * 64,
        created=when,
        changed=when,
        size=100,
        volumes=(f"{prefix}.json", f"{prefix}.qcow2"),
        users=(),
    )


def half(digit: str, age: timedelta | None) -> StoredImage:
    changed = None if age is None else NOW - age
    return replace(image(digit), created=None, digest=digit * 16, changed=changed)


def deleted(images: list[StoredImage], needs: Needs = NOTHING) -> list[str]:
    return [v.image.digest[0] for v in judge(images, needs, now=NOW) if not v.kept]


def test_the_newest_of_each_name_is_kept() -> None:
    images = [image("a", days=3), image("b", days=1), image("c", days=2), image("d", name="other")]

    assert deleted(images) == ["c", "a"]


def test_more_of_the_newest_are_kept_on_request() -> None:
    images = [image("a", days=3), image("b", days=1), image("c", days=2)]

    assert deleted(images, replace(NOTHING, keep=2)) == ["a"]


def test_of_an_image_on_trial_the_version_in_use_is_kept_although_newer_ones_were_withdrawn() -> (
    None
):
    new, withdrawn, replaced, in_use = [
        image(digit, days=days) for days, digit in enumerate("abcd")
    ]
    needs = Needs(keep=1, pins=frozenset(), volumes=frozenset(), on_trial=frozenset({"debian-12"}))

    assert deleted([new, withdrawn, replaced, in_use], needs) == []
    older = [image("e", days=8), image("f", days=9)]
    assert deleted([new, withdrawn, replaced, in_use, *older], needs) == ["f"]


def test_what_is_pinned_is_kept() -> None:
    images = [image("a", days=3), image("b", days=1), image("c", days=2)]
    pins = frozenset({("debian-12", "a" * 12), ("other", "c" * 12)})

    assert deleted(images, replace(NOTHING, pins=pins)) == ["c"]


def test_what_is_named_as_a_volume_is_kept() -> None:
    images = [image("a", days=3), image("b", days=1)]
    volumes = frozenset({images[0].volumes[1]})

    assert deleted(images, replace(NOTHING, volumes=volumes)) == []


def test_what_is_in_use_is_kept_and_its_users_are_named() -> None:
    old = replace(image("a", days=3), users=("overlay", "domain"))

    _new, verdict = judge([old, image("b", days=1)], NOTHING, now=NOW)

    assert verdict.kept == "in use by overlay, domain"


@pytest.mark.parametrize(
    ("age", "gone"),
    [(LEFTOVER_AGE, True), (LEFTOVER_AGE - timedelta(seconds=1), False), (None, False)],
)
def test_half_an_upload_goes_when_it_is_old(age: timedelta | None, *, gone: bool) -> None:
    assert deleted([half("a", age)]) == (["a"] if gone else [])


def test_half_an_upload_is_not_the_newest_of_its_name() -> None:
    assert deleted([half("a", timedelta()), image("b", days=9)]) == []


def test_half_an_upload_that_is_in_use_is_kept() -> None:
    assert deleted([replace(half("a", LEFTOVER_AGE), users=("overlay",))]) == []


def test_a_configuration_says_what_it_pins_and_names() -> None:
    config = PoolConfig.model_validate(
        {
            "master": {"max_vms": 1},
            "hosts": {"a": {"uri": "qemu:///system", "slots": 1, "storage_pool": "p"}},
            "images": {
                "debian-12": {"digest": "a" * 12},
                "old": {"name": "debian-12", "digest": "b" * 12},
                "mine": {"volume": "mine.qcow2"},
            },
            "labels": {
                name: {"image": name, "memory": "512MiB", "max_vms": 1}
                for name in ("debian-12", "old", "mine")
            },
        }
    )

    needs = Needs.of(config, keep=3)

    assert needs.keep == 3
    assert needs.pins == {("debian-12", "a" * 12), ("debian-12", "b" * 12)}
    assert needs.volumes == {"mine.qcow2"}


@given(
    st.lists(
        st.builds(
            image,
            st.sampled_from("0123456789abcdef"),
            name=st.sampled_from(["one", "two"]),
            days=st.integers(0, 3),
        ),
        unique_by=lambda each: (each.name, each.digest),
    ),
    st.integers(1, 3),
)
def test_of_each_name_as_many_as_wanted_stay_and_none_newer_goes(
    images: list[StoredImage], keep: int
) -> None:
    verdicts = judge(images, replace(NOTHING, keep=keep), now=NOW)

    assert {v.image for v in verdicts} == set(images)
    for name in ("one", "two"):
        stay = [v.image.created for v in verdicts if v.image.name == name and v.kept]
        go = [v.image.created for v in verdicts if v.image.name == name and not v.kept]
        assert len(stay) == min(keep, len(stay) + len(go))
        assert not go or max(filter(None, go)) <= min(filter(None, stay))
