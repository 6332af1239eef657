# SPDX-License-Identifier: GPL-2.0-only
"""A pool knows which configuration it follows, and what became of the one saved last."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from latent_libvirt.config.models import PoolConfig
from latent_libvirt.config.problems import InvalidConfiguration
from latent_libvirt.master.service import loaded_config
from latent_libvirt.master.service.loaded_config import LoadedConfig
from paper_pool import config_of

FIRST = config_of(one={"max_vms": 1})
OTHER = config_of(one={"max_vms": 2})


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time of day, a list of one, that a test changes."""
    time = [100.0]
    monkeypatch.setattr(loaded_config, "time", SimpleNamespace(time=lambda: time[0]))
    return time


def test_a_configuration_that_is_followed_is_the_current_one_and_says_what_it_changes(
    now: list[float],
) -> None:
    loaded = LoadedConfig("pool", FIRST)
    loaded.follow(FIRST)
    assert (loaded.generation, loaded.loaded_at) == (1, 100.0)
    assert (loaded.changed, loaded.changed_at) == ((), 0.0)

    now[0] = 200.0
    loaded.follow(OTHER)
    now[0] = 300.0
    loaded.follow(OTHER)

    assert loaded.current == OTHER
    assert (loaded.generation, loaded.loaded_at, loaded.changed_at) == (3, 300.0, 200.0)
    assert any("max_vms" in line for line in loaded.changed)


@pytest.mark.parametrize(("config", "is_another"), [(FIRST, False), (OTHER, True)])
def test_a_valid_file_ends_a_refusal_and_is_followed_only_if_it_says_something_else(
    config: PoolConfig, now: list[float], *, is_another: bool
) -> None:
    loaded = LoadedConfig("pool", FIRST)
    error = InvalidConfiguration(Path("pool.yaml"), [])
    loaded.refuse(error)
    refused = loaded.refusal

    assert loaded.accept(config) == is_another

    assert refused is error
    assert loaded.refusal is None
    assert (loaded.current, loaded.loaded_at) == (FIRST, 100.0)
