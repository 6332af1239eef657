# SPDX-License-Identifier: GPL-2.0-only
"""Calls that do not fit a signature."""

from __future__ import annotations

from typing import Any

import pytest
from buildbot.config.errors import ConfigErrors

from latent_libvirt.upstream.calls import written_like


@written_like('greet("you")')
def greet(name: str, *, greeting: str = "hello") -> str:
    return f"{greeting} {name}"


wrongly_called: Any = greet


def test_a_right_call_returns_what_the_function_returns() -> None:
    assert greet("you", greeting="good day") == "good day you"


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        ((), {}, "missing a required argument: 'name'"),
        (("you", "me"), {}, "too many positional arguments"),
        (("you",), {"name": "me"}, "multiple values for argument 'name'"),
        (
            ("you",),
            {"greting": "x"},
            "got an unexpected keyword argument 'greting', did you mean 'greeting'?",
        ),
        (("you",), {"zzz": "x"}, "got an unexpected keyword argument 'zzz'"),
    ],
)
def test_a_wrong_call_is_refused_with_the_reason_and_an_example(
    args: tuple[str, ...], kwargs: dict[str, str], why: str
) -> None:
    with pytest.raises(ConfigErrors) as caught:
        wrongly_called(*args, **kwargs)
    assert caught.value.errors == [f'wrong call ({why}); write, for example, greet("you")']


def test_an_error_inside_the_function_is_not_taken_for_a_wrong_call() -> None:
    @written_like("broken()")
    def broken() -> None:
        raise TypeError("of the function")

    with pytest.raises(TypeError, match="of the function"):
        broken()
