# SPDX-License-Identifier: GPL-2.0-only
"""Calls that a ``master.cfg`` makes, refused as ``buildbot checkconfig`` refuses anything else.

Arguments that do not fit a function's signature are handled here. What the values of arguments may
be is checked by each function.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from buildbot.config.errors import ConfigErrors

from latent_libvirt.advice.guesses import nearest

P = ParamSpec("P")
R = TypeVar("R")


def written_like(example: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator whose function refuses a call that does not fit its signature.

    :param example: a right use of the function, as a ``master.cfg`` has it.
    :raises ConfigErrors: with one sentence, when the decorated function is called in a wrong way.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            refuse_wrong_call(signature, args, kwargs, example=example)
            return function(*args, **kwargs)

        return checked

    return decorate


def refuse_wrong_call(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any], *, example: str
) -> None:
    """Refuse arguments that do not fit *signature*.

    :raises ConfigErrors: with one sentence that has *example*.
    """
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        why = f"{error}{_guess(kwargs, signature)}"
        raise ConfigErrors([f"wrong call ({why}); write, for example, {example}"]) from None


def _guess(given: Mapping[str, Any], signature: inspect.Signature) -> str:
    """Return a question after the parameter that was meant by an unknown name; empty if none."""
    names = [*signature.parameters]
    near = (nearest(name, names) for name in given if name not in names)
    return next((f", did you mean {name!r}?" for name in near if name), "")
