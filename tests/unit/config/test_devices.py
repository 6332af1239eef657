# SPDX-License-Identifier: GPL-2.0-only
"""Devices of hosts and the labels that need them: what can be one, and where a mistake is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latent_libvirt.config import PoolConfig
from latent_libvirt.config.hardware.devices import addresses_in

ALPHA = "slots: 4"
TWO = (
    "[{name: gpu, addresses: ['0000:01:00.0', '0000:02:00.0']}, "
    "{name: key, addresses: ['usb:046d:c52b']}]"
)


def with_devices(good: str, devices: str, label: str) -> str:
    text = good.replace(ALPHA, f"{ALPHA}\n    devices: {devices}")
    return text.replace("memory: 1GiB", label)


def test_a_slot_has_the_devices_at_its_place(
    good: str, load_text: Callable[[str], PoolConfig]
) -> None:
    config = load_text(with_devices(good, TWO, "start: boot\n    devices: [gpu]"))

    devices = config.hosts["alpha"].devices
    assert config.slots_with_devices("debian-12") == {"alpha": 2, "beta": 0}
    assert config.slots_with_devices("large") == {}
    assert addresses_in(2, devices, ["gpu"]) == ("0000:02:00.0",)
    assert addresses_in(1, devices, ["gpu", "key"]) == ("0000:01:00.0", "usb:046d:c52b")
    assert hash(config) == hash(config)


@pytest.mark.parametrize(
    ("devices", "problem"),
    [
        ("gpu", "hosts.alpha.devices: 'gpu' is not a list; write one, like [{name: gpu, addr"),
        ("[{name: gpu}]", "hosts.alpha.devices[0].addresses: missing"),
        ("[{name: gpu, addresses: []}]", "devices[0].addresses: there is no address"),
        ("[{name: gpu, addresses: ['01:00.0']}]", "addresses[0]: '01:00.0' is not an address"),
        ("[{name: gpu, addresses: ['usb:1:2']}]", "'usb:1:2' is not an address of a device"),
        (
            "[{name: a, addresses: ['0000:01:00.0']}, {name: b, addresses: ['0000:01:00.0']}]",
            "hosts.alpha.devices[1].addresses[0]: '0000:01:00.0' is there already",
        ),
        (
            "[{name: a, addresses: ['0000:01:00.0']}, {name: a, addresses: ['0000:02:00.0']}]",
            "hosts.alpha.devices[1].name: there is a device 'a' already",
        ),
    ],
)
def test_what_can_be_no_device_is_refused_where_it_stands(
    devices: str, problem: str, problem_with: Callable[[str, str], str]
) -> None:
    assert problem in problem_with(ALPHA, f"{ALPHA}\n    devices: {devices}")


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("devices: [gpu]", "labels.debian-12.devices: a VM with a device cannot be saved; add"),
        ("start: boot\n    devices: [gqu]", "no host of the label has 'gqu'; did you mean 'gpu'?"),
        ("start: boot\n    hosts: [beta]\n    devices: [gpu]", "no host of the label has 'gpu'"),
        ("start: boot\n    devices: gpu", "'gpu' is not a list; write it in brackets: [gpu]"),
        ("start: boot\n    devices: gpu, tpu", "is not a list; write one, like [gpu]"),
        (
            "start: boot\n    devices: [gpu]\n    hold_on_failure: 1h\n    freeze: true",
            "labels.debian-12.freeze: a VM with a device cannot be saved, so it cannot be frozen",
        ),
        ("start: boot\n    devices: [gpu, key]", ""),
    ],
)
def test_a_label_asks_for_devices_that_a_host_has(
    label: str, problem: str, good: str, problems_of: Callable[[str], list[str]]
) -> None:
    problems = problems_of(with_devices(good, TWO, label))

    assert problem in "\n".join(problems)
    assert bool(problem) == bool(problems)


@pytest.mark.parametrize("hosts", ["[[alpha]]", "[{alpha: 1}]", "[alpha, []]"])
def test_hosts_that_are_no_names_are_reported_where_they_stand(
    hosts: str, good: str, problems_of: Callable[[str], list[str]]
) -> None:
    keys = f"start: boot\n    devices: [gpu]\n    cpu_pinning: true\n    hosts: {hosts}"

    assert "labels.debian-12.hosts" in "\n".join(problems_of(with_devices(good, TWO, keys)))


def test_a_label_names_a_device_once(good: str, problems_of: Callable[[str], list[str]]) -> None:
    text = with_devices(good, TWO, "start: boot\n    devices: [gpu, gpu]")

    (problem,) = problems_of(text)

    assert "labels.debian-12.devices[1]: 'gpu' is there already" in problem
