# SPDX-License-Identifier: GPL-2.0-only
"""The label of a build where it comes from its properties, and what is said if there is none."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.process.properties import Properties

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.master.workers.asked_label import asked_label

BY_PROPERTY = util.Property("label")


async def asked(label: Any, /, **properties: Any) -> str:
    return await asked_label("by-hand", label, Properties(**properties))


@pytest.mark.parametrize(
    ("label", "properties"),
    [
        ("debian-12", {}),
        (BY_PROPERTY, {"label": "debian-12"}),
        (util.Property("label", default="debian-12"), {}),
        (util.Interpolate("debian-%(prop:release)s"), {"release": 12}),
        (
            util.Transform(lambda release: f"debian-{release}", util.Property("release")),
            {"release": "12"},
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_name_is_taken_as_it_is(label: Any, properties: dict[str, Any]) -> None:
    assert await asked(label, **properties) == "debian-12"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "empty"),
        ("  ", "empty"),
        (None, "None"),
        (0, "0 of type int"),
        (12, "12 of type int"),
        (True, "True of type bool"),
        (["debian-12"], "['debian-12'] of type list"),
        ({"name": "x"}, "{'name': 'x'} of type dict"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_property_that_names_no_label_is_told_with_its_name(value: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await asked(BY_PROPERTY, label=value)

    expected = f"the build's property 'label' is {said}, and not the name of a label"
    assert caught.value.brief == expected


@pytest_twisted.ensureDeferred
async def test_a_property_that_is_missing_is_told() -> None:
    with pytest.raises(ConfigurationError, match="has no property 'flavour'") as caught:
        await asked(util.Property("flavour"), label="debian-12")

    assert "default=" in str(caught.value)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (util.Interpolate("%(prop:label)s"), "is empty for this build"),
        (util.renderer(lambda _properties: None), "is None for this build"),
        (util.renderer(lambda _properties: ["debian-12"]), "of type list"),
        (None, "is None for this build"),
        (["debian-12"], "of type list"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_any_other_renderable_is_told_with_what_it_gives(label: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        await asked(label)

    assert "worker 'by-hand': its label" in caught.value.brief


@pytest_twisted.ensureDeferred
async def test_what_is_told_of_a_value_is_bounded() -> None:
    with pytest.raises(ConfigurationError) as caught:
        await asked(BY_PROPERTY, label=["x" * 1_000_000] * 100)

    assert len(str(caught.value)) < 1000
