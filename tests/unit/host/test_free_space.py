# SPDX-License-Identifier: GPL-2.0-only
"""How much of a storage pool QEMU can use, which is not root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace

import libvirt
import pytest

from latent_libvirt.doctor import storage
from latent_libvirt.host import inventory

BLOCK = 4096


@pytest.fixture
def pool() -> Iterator[libvirt.virStoragePool]:
    """Give a storage pool of libvirt's test driver."""
    connection = libvirt.open("test:///default")
    yield connection.listAllStoragePools()[0]
    connection.close()


def on_a_file_system(
    monkeypatch: pytest.MonkeyPatch, pool: libvirt.virStoragePool, *, blocks: int, kept: int
) -> None:
    """Let the pool's directory be on a file system that keeps so many blocks for root."""
    # To make a file system with reserved blocks, and to mount it, takes privileges.
    free = pool.info()[3] // BLOCK
    answer = SimpleNamespace(f_frsize=BLOCK, f_blocks=blocks, f_bfree=free, f_bavail=free - kept)
    monkeypatch.setattr(os, "statvfs", lambda _path: answer)


def test_what_is_kept_for_root_is_not_free(
    monkeypatch: pytest.MonkeyPatch, pool: libvirt.virStoragePool
) -> None:
    capacity, available = pool.info()[1], pool.info()[3]
    on_a_file_system(monkeypatch, pool, blocks=capacity // BLOCK, kept=1000)

    assert inventory.free_space(pool) == available - 1000 * BLOCK


def test_a_directory_of_the_same_name_on_this_machine_says_nothing_of_another_host(
    monkeypatch: pytest.MonkeyPatch, pool: libvirt.virStoragePool
) -> None:
    on_a_file_system(monkeypatch, pool, blocks=pool.info()[1] // BLOCK + 1, kept=1000)

    assert inventory.free_space(pool) == pool.info()[3]
    assert inventory.kept_for_root(pool) is None


def test_where_nobody_can_tell_the_doctor_says_so() -> None:
    told = storage.room("builds", free=2**40, slots=1, exact=False)

    assert "may keep for root" in told.brief
    assert "may keep for root" not in storage.room("builds", free=2**40, slots=1).brief
