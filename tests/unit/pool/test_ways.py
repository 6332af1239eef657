# SPDX-License-Identifier: GPL-2.0-only
"""How a worker comes to its master, and what becomes of images that are too old for a channel."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted
from twisted.logger import capturedLogs

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.guest.protocol import MasterAddress, MasterChannel
from latent_libvirt.pool.ways import WorkerPort
from paper_pool import PaperPool, config_of, machine_of

PORT = WorkerPort("the factory", lambda: (9989, None))


def refused() -> tuple[int, None]:
    raise ConfigurationError("guests cannot connect to this port")


@pytest_twisted.ensureDeferred
async def test_a_worker_with_a_channel_needs_no_address_and_no_port_of_tcp() -> None:
    pool = PaperPool(config_of(one={"connection": "channel", "network": "none"}))
    vm = pool.give().vm
    machine_of(vm).has_channel = True

    port = WorkerPort("the factory", refused)
    identity = await pool.identity(vm, "one-1", password="secret", port=port)

    assert isinstance(identity.master, MasterChannel)
    assert identity.master.factory == "the factory"
    assert identity.message(now=0.0)["master"] == {"channel": identity.master.session}
    again = await pool.identity(vm, "one-1", password="secret", port=port)
    assert again.master != identity.master


@pytest_twisted.ensureDeferred
async def test_an_image_that_knows_no_channel_goes_on_by_tcp_and_the_log_says_so_once() -> None:
    config = config_of(one={"connection": "channel", "address": "192.0.2.1"})
    pool = PaperPool(config)
    vm = pool.give().vm
    with capturedLogs() as events:
        identities = [
            await pool.identity(vm, "one-1", password="secret", port=PORT) for _ in range(2)
        ]

    assert [each.master for each in identities] == [MasterAddress("192.0.2.1", 9989)] * 2
    assert sum("knows no channel" in event["log_format"] for event in events) == 1


@pytest_twisted.ensureDeferred
async def test_an_image_that_knows_no_channel_is_no_use_without_a_network() -> None:
    pool = PaperPool(config_of(one={"connection": "channel", "network": "none"}))
    vm = pool.give().vm

    machine_of(vm).image_digest = "0123456789ab"

    with pytest.raises(
        ConfigurationError, match="knows no channel, and the VM has no network"
    ) as caught:
        await pool.identity(vm, "one-1", password="secret", port=PORT)
    assert caught.value.details == "Its image is 0123456789ab."
    assert "Build and publish the image again" in str(caught.value.resolution)


@pytest_twisted.ensureDeferred
async def test_a_worker_by_tcp_has_no_channel_whatever_its_image_knows() -> None:
    pool = PaperPool(config_of(one={"connection": "tcp", "address": "192.0.2.1"}))
    vm = pool.give().vm
    machine_of(vm).has_channel = True

    identity = await pool.identity(vm, "one-1", password="secret", port=PORT)

    assert identity.master == MasterAddress("192.0.2.1", 9989)


ALLOW: dict[str, object] = {"connection": "channel", "network": {"allow": ["a.example:80"]}}


@pytest_twisted.ensureDeferred
async def test_builds_get_a_channel_to_what_their_label_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PaperPool, "cache", tmp_path)
    pool = PaperPool(config_of(one=ALLOW))
    vm = pool.give().vm
    machine_of(vm).has_channel = machine_of(vm).has_proxy = True

    identity = await pool.identity(vm, "one-1", password="secret", port=PORT)

    assert identity.network is not None
    assert identity.message(now=0.0)["network"] == identity.network.session
    assert identity.network.policy.destination("a.example", 80).port == 80
    assert identity.network.cache is not None
    assert identity.network.cache is pool._cache
    assert vm.fetched is not None
    assert vm.fetched is identity.network.record


@pytest.mark.parametrize("was_allowed", [True, False])
@pytest_twisted.ensureDeferred
async def test_builds_get_none_unless_their_vm_was_made_for_it_and_their_label_allows_it_now(
    *, was_allowed: bool
) -> None:
    other: dict[str, object] = {"connection": "channel"}
    pool = PaperPool(config_of(one=ALLOW if was_allowed else other))
    vm = pool.give().vm
    machine_of(vm).has_channel = machine_of(vm).has_proxy = True
    pool.configure(config_of(one=other if was_allowed else ALLOW))

    identity = await pool.identity(vm, "one-1", password="secret", port=PORT)

    assert identity.network is None
    assert vm.fetched is None


@pytest_twisted.ensureDeferred
async def test_an_image_that_knows_no_forward_proxy_is_named() -> None:
    pool = PaperPool(config_of(one=ALLOW))
    vm = pool.give().vm
    machine_of(vm).has_channel = True

    machine_of(vm).image_digest = "0123456789ab"

    with pytest.raises(
        ConfigurationError, match="cannot lead builds to what its label allows"
    ) as caught:
        await pool.identity(vm, "one-1", password="secret", port=PORT)
    assert caught.value.details == "Its image is 0123456789ab."
    assert "Build and publish the image again" in str(caught.value.resolution)
