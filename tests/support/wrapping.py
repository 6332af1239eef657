# SPDX-License-Identifier: GPL-2.0-only
"""Modules that wrap methods of Buildbot's: what each of their ``install`` has to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Install = Callable[[], None]


def restore_after_the_test(
    monkeypatch: pytest.MonkeyPatch, *methods: tuple[type, str], mark: tuple[type, str]
) -> None:
    """Have *methods* be Buildbot's again after the test.

    :param mark: the attribute that says that they are wrapped; they are not now.
    """
    for owner, name in methods:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(*mark, False, raising=False)


def check_it_wraps_once(install: Install, owner: type, name: str) -> None:
    """Check that the method is another one after the first *install*, and the same after a second.

    :raises AssertionError: if it is not.
    """
    before = getattr(owner, name)
    install()
    wrapped = getattr(owner, name)
    install()

    assert wrapped is not before
    assert getattr(owner, name) is wrapped


def check_it_wraps_nothing(install: Install, owner: type, name: str) -> None:
    """Check that *install* leaves the method alone.

    :raises AssertionError: if it does not.
    """
    before = getattr(owner, name)

    install()

    assert getattr(owner, name) is before
