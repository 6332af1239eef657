# SPDX-License-Identifier: GPL-2.0-only
"""Workers as a ``master.cfg`` makes them, well and badly."""

from __future__ import annotations

import re
from typing import Any

import pytest
from buildbot.config.errors import ConfigErrors
from buildbot.plugins import util

from latent_libvirt.master.workers.worker import LibvirtLatentWorker


def refusal(*args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(ConfigErrors) as refused:
        LibvirtLatentWorker(*args, **kwargs)
    errors: list[str] = refused.value.errors
    return errors


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((), {"label": "x"}, "a worker has no name; write, for example: "),
        (("a",), {}, "worker 'a' has no label; write, for example: "),
        (("a",), {"name": "b", "label": "x"}, "worker 'a' has two names"),
        ((7,), {"label": "x"}, "a worker's name is 7, and has to be a text: "),
        (("",), {"label": "x"}, "a worker's name is '', and has to be a text: "),
        (("a",), {"label": None}, "worker 'a': label is None, and has to be the name of a label"),
        (("a",), {"label": ""}, "worker 'a': label is '', and has to be the name of a label"),
        (("a",), {"label": ["x"]}, "worker 'a': label is ['x'], and has to be the name of a label"),
        (("a",), {"label": "x", "pool": 7}, "worker 'a': pool is 7, and has to be the pool or its"),
        (
            ("a",),
            {"label": "x", "propertys": {}},
            "worker 'a' takes no argument 'propertys'; did you mean 'properties'?",
        ),
        (("a",), {"label": "x", "firmware": 1}, "worker 'a' takes no argument 'firmware'"),
        (("a",), {"label": "x", "password": "p"}, "worker 'a' takes no password: leave it out"),
        (("a",), {"label": "x", "max_builds": 2}, "worker 'a' takes no max_builds: leave it out"),
        (
            ("a",),
            {"label": "x", "build_wait_timeout": 1},
            "worker 'a' takes no build_wait_timeout: write idle_timeout in its label",
        ),
    ],
    ids=str,
)
def test_what_a_worker_cannot_be_made_of_is_told_in_a_sentence(
    args: tuple[Any, ...], kwargs: dict[str, Any], told: str
) -> None:
    (error,) = refusal(*args, **kwargs)

    assert error.startswith(told)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("properties", "x"),
        ("properties", ["x"]),
        ("properties", {1: 2}),
        ("properties", {"a": object()}),
        ("properties", {"a": float("nan")}),
        ("defaultProperties", 7),
        ("locks", "x"),
        ("locks", [None]),
        ("locks", util.MasterLock("a").access("counting")),
        ("notify_on_missing", 7),
        ("notify_on_missing", [""]),
        ("missing_timeout", "1h"),
        ("missing_timeout", -1),
        ("missing_timeout", True),
        ("keepalive_interval", float("inf")),
        ("check_instance_interval", []),
        ("machine_name", {"a": 1}),
    ],
    # Not the address of an object: each worker of xdist has another.
    ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", str(value)),
)
def test_an_argument_of_buildbots_that_is_of_a_wrong_kind_is_told_in_a_sentence(
    key: str, value: Any
) -> None:
    (error,) = refusal("a", label="x", **{key: value})

    assert error.startswith(f"worker 'a': {key} is ")
    assert ", and has to be " in error


def test_arguments_of_buildbots_are_taken_as_its_manual_has_them() -> None:
    lock = util.MasterLock("a")
    for locks in (None, [], [lock.access("counting"), lock], util.renderer(lambda _props: [])):
        assert LibvirtLatentWorker("a", label="x", locks=locks).name == "a"
    LibvirtLatentWorker(
        "a",
        label="x",
        properties={"a": [1, None], "b": util.Interpolate("c")},
        defaultProperties=None,
        notify_on_missing=["one@example.org"],
        missing_timeout=600,
        keepalive_interval=None,
        machine_name="m",
    )


@pytest.mark.parametrize("name", ["a\nb", "a\0", "\x1b[2J", "\u202e"])
def test_a_name_that_cannot_be_printed_is_refused(name: str) -> None:
    (error,) = refusal(name, label="x")

    assert error.endswith("has characters that cannot be printed")
    assert error.isprintable()


def test_a_name_that_buildbots_database_has_no_room_for_is_refused() -> None:
    assert LibvirtLatentWorker("w" * 50, label="x").name
    (error,) = refusal("w" * 51, label="x")

    assert error.endswith("has a name that is too long: Buildbot takes 50")


def test_a_password_as_buildbots_own_workers_have_it_is_refused_and_not_shown() -> None:
    errors = refusal("debian-12-1", "secret")

    assert any(
        "takes one argument without a keyword, its name, and there are 2" in e for e in errors
    )
    assert "secret" not in "".join(errors)


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert len(refusal("a", "b", pool=7, colour="red")) == 4


def test_a_value_that_is_long_is_told_by_its_kind() -> None:
    (error,) = refusal("a", label=["x"] * 1000)

    assert error.startswith("worker 'a': label is list, and has to be")


@pytest.mark.parametrize("label", ["debian-12", util.Property("label"), util.Interpolate("x")])
def test_a_name_and_a_label_are_enough(label: Any) -> None:
    assert LibvirtLatentWorker("a", label=label).name == "a"
    assert LibvirtLatentWorker(name="a", label=label, max_builds=1).name == "a"
