# SPDX-License-Identifier: GPL-2.0-only
"""What is noted of what functions and renderers of a master.cfg read; Buildbot's own renderers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.process.buildrequest import BuildRequest
from buildbot.process.properties import Properties

from latent_libvirt.master.choosing.watched import (
    Reads,
    WatchedProperties,
    WatchedRequest,
    unwatched,
)

RENDERERS: dict[str, tuple[Any, set[str]]] = {
    "Property": (util.Property("label"), {"label"}),
    "Interpolate": (util.Interpolate("%(prop:label)s-%(prop:more:-none)s"), {"label", "more"}),
    "Transform": (util.Transform(str.upper, util.Property("label")), {"label"}),
    "a comparison": (util.Property("label") == "x", {"label"}),
    "a renderer": (util.renderer(lambda props: props["label"]), {"label"}),
    "in": (util.renderer(lambda props: "label" in props and "b"), {"label"}),
    "one that is not there": (util.renderer(lambda props: props.getProperty("none")), {"none"}),
    "a source": (util.renderer(lambda props: props.getPropertySource("label")), {"label"}),
}
EVERYTHING = {
    "asDict": lambda props: props.asDict(),
    "asList": lambda props: props.asList(),
    "a loop": lambda props: list(props.properties),
    "a copy": lambda props: dict(props.properties),
    "whether there are any": bool,
    "repr": repr,
}


def _request() -> BuildRequest:
    request = BuildRequest()
    known = Properties(label="b", more="m")
    vars(request).update(
        id=7, bsid=8, priority=0, reason="", properties=known, master=SimpleNamespace(), sources={}
    )
    return request


@pytest.mark.parametrize("kind", RENDERERS)
@pytest_twisted.ensureDeferred
async def test_the_names_that_a_renderer_reads_are_noted(kind: str) -> None:
    renderer, expected = RENDERERS[kind]
    properties, reads = WatchedProperties(), Reads()
    properties.updateFromProperties(_request().properties)
    properties.watch(reads)

    await properties.render(renderer)

    assert (reads.names, reads.more) == (expected, False)


@pytest.mark.parametrize("kind", EVERYTHING)
def test_who_reads_all_properties_reads_what_no_two_requests_need_share(kind: str) -> None:
    reads = Reads()

    EVERYTHING[kind](WatchedRequest(_request(), reads).properties)

    assert reads.more


DETAILS: dict[str, Callable[[Any], object]] = {
    "its id": lambda request: request.id,
    "its priority": lambda request: request.priority,
    "all it has": vars,
    "its sources": lambda request: request.mergeSourceStampsWith([]),
    "its reasons": lambda request: request.mergeReasons([]),
}


@pytest.mark.parametrize("kind", DETAILS)
def test_who_reads_a_detail_of_a_request_is_asked_for_each(kind: str) -> None:
    reads = Reads()

    DETAILS[kind](WatchedRequest(_request(), reads))

    assert reads.more


def test_who_reads_a_property_of_a_request_and_its_master_is_asked_once_for_each_value() -> None:
    request, reads = _request(), Reads()
    watched = WatchedRequest(request, reads)

    assert watched.properties.getProperty("label") == "b"
    assert watched.master is request.master
    assert (reads.names, reads.more) == ({"label"}, False)
    assert unwatched(watched) is request
    assert unwatched(request) is request
