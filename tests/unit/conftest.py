# SPDX-License-Identifier: GPL-2.0-only
"""What unit tests share: those that are no coroutines are called without the reactor."""

from __future__ import annotations

import inspect
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a test that is no coroutine now.

    pytest-twisted has the reactor call each test, and also each example of hypothesis.
    """
    if _is_for_twisted(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    returned = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    assert returned is None, "a test that is no coroutine returns something, which is ignored"
    return True


def _is_for_twisted(test: Any) -> bool:
    function = getattr(test, "hypothesis", None)
    inner = test if function is None else function.inner_test
    return hasattr(inner, "_pytest_twisted_mark") or inspect.iscoroutinefunction(inner)
