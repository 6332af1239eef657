# SPDX-License-Identifier: GPL-2.0-only
"""What a VM is told of who it is."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.guest.protocol import (
    Identity,
    MasterAddress,
    host_name,
    new_password,
)


@pytest.fixture
def identity() -> Identity:
    return Identity("debian-1", "secret", MasterAddress("10.0.2.2", 9989), "worker")


def test_the_message_carries_all_that_the_launcher_needs(identity: Identity) -> None:
    message = identity.message(now=1000.5)

    assert len(base64.b64decode(message.pop("entropy"))) == 64
    assert message == {
        "type": "identity",
        "protocol": 1,
        "name": "debian-1",
        "password": "secret",
        "master": {"host": "10.0.2.2", "port": 9989},
        "time": 1000.5,
        "hostname": "debian-1",
        "user": "worker",
    }


def test_entropy_is_never_the_same(identity: Identity) -> None:
    messages = [identity.message(now=0) for _ in range(10)]

    assert len({message["entropy"] for message in messages}) == 10


def test_a_password_is_not_shown_by_repr(identity: Identity) -> None:
    assert "secret" not in repr(identity)


def test_passwords_are_never_the_same() -> None:
    assert len({new_password() for _ in range(100)}) == 100


@given(st.text())
def test_any_worker_name_makes_a_valid_host_name(worker: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", host_name(worker))
