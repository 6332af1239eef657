# SPDX-License-Identifier: GPL-2.0-only
"""Defaults of hosts and labels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from latent_libvirt.config import InvalidConfiguration, PoolConfig
from latent_libvirt.config.defaults import merged
from latent_libvirt.config.sections.host import HostDefaults
from latent_libvirt.config.sections.label import LabelDefaults
from latent_libvirt.config.units import MIB

Load = Callable[[str], PoolConfig]

MODELS: dict[str, type[BaseModel]] = {"hosts": HostDefaults, "labels": LabelDefaults}

POOL = """
master: {max_vms: 4}
defaults:
  hosts: {slots: 3, storage_pool: builds}
  labels: {image: debian-12, memory: 2GiB, max_vms: 2}
hosts:
  plain: {uri: "qemu:///system"}
  large: {uri: "qemu+ssh://b/system", slots: 9}
labels:
  plain: {}
  small: {memory: 256MiB, max_vms: 1}
  usual: {memory:}
"""


def test_hosts_and_labels_have_what_they_do_not_say_themselves(load_text: Load) -> None:
    config = load_text(POOL.replace("usual: {memory:}", "usual: {vcpus: 2}"))

    assert {name: host.slots for name, host in config.hosts.items()} == {"plain": 3, "large": 9}
    assert {host.storage_pool for host in config.hosts.values()} == {"builds"}
    assert {name: label.memory // MIB for name, label in config.labels.items()} == {
        "plain": 2048,
        "small": 256,
        "usual": 2048,
    }
    assert {name: label.max_vms for name, label in config.labels.items()} == {
        "plain": 2,
        "small": 1,
        "usual": 2,
    }


@pytest.mark.parametrize(
    ("old", "new", "problems"),
    [
        (
            "memory: 2GiB",
            "memory: 2",
            ["5:38: defaults.labels.memory: the size 2 has no unit; write 2MiB or 2GiB"],
        ),
        (
            "slots: 3",
            "slot: 3",
            [
                "4:11: defaults.hosts.slot: unknown key; did you mean 'slots'?",
                "7:3: hosts.plain.slots: missing; add `slots: 8`",
            ],
        ),
        (
            "slots: 3",
            "slots: 3, uri: qemu:///session",
            ["4:26: defaults.hosts.uri: no two hosts have the same URI; write it in each host"],
        ),
        (
            "{slots: 3, storage_pool: builds}",
            "3",
            [
                (
                    "4:10: defaults.hosts: the number 3 where a mapping belongs; "
                    "write {storage_pool: builds, slots: 8}"
                ),
                "7:3: hosts.plain.slots: missing; add `slots: 8`",
                "7:3: hosts.plain.storage_pool: missing; add `storage_pool: default`",
                "8:3: hosts.large.storage_pool: missing; add `storage_pool: default`",
            ],
        ),
    ],
)
def test_a_mistake_in_a_default_is_reported_once_at_its_place(
    load_text: Load, old: str, new: str, problems: list[str]
) -> None:
    text = POOL.replace("  usual: {memory:}\n", "").replace(old, new)

    with pytest.raises(InvalidConfiguration) as refused:
        load_text(text)

    found = [str(problem).partition("pool.yaml:")[2] for problem in refused.value.problems]
    assert found == problems


@pytest.mark.parametrize(
    ("defaults", "label", "problem"),
    [
        (
            "start: resume, devices: [gpu]",
            "memory: 1GiB",
            (
                "a VM with a device cannot be saved (`devices` is from `defaults`, line 24; "
                "`start` is from `defaults`, line 24); add `start: boot`"
            ),
        ),
        (
            "network: none",
            "connection: tcp",
            "connect to its master by TCP (`network` is from `defaults`, line 24); remove",
        ),
        (
            "max_vms: 2",
            "spares: 3",
            (
                "3 spares are more than the 2 VMs that the label may have (`max_vms` is from "
                "`defaults`, line 24); raise"
            ),
        ),
    ],
)
def test_a_conflict_names_the_line_of_the_defaults_that_it_comes_from(
    defaults: str,
    label: str,
    problem: str,
    good: str,
    problems_of: Callable[[str], list[str]],
) -> None:
    text = good.replace("memory: 1GiB", label)

    found = problems_of(f"{text}defaults: {{labels: {{{defaults}}}}}\n")

    assert problem in "\n".join(found)
    assert all("is from `defaults`" in each for each in found if ".devices: no host" not in each)


def test_an_address_of_the_defaults_is_for_labels_with_a_card(
    good: str, problems_of: Callable[[str], list[str]]
) -> None:
    text = good.replace("memory: 1GiB", "network: none")
    defaults = "defaults: {labels: {address: a.example}}\n"
    other = text.replace("network: none", "network: none\n    address: b.example")

    assert problems_of(text + defaults) == []
    (problem,) = problems_of(other + defaults)
    assert problem == (
        "20:14: labels.debian-12.address: guests without a network card connect to no address; "
        "remove it, or give the label a network"
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
section = st.dictionaries(st.sampled_from(["slots", "memory", "vcpus", "drain", "x"]), values)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "defaults": values | st.dictionaries(st.sampled_from(["hosts", "labels"]), section),
            "hosts": values | st.dictionaries(st.text(max_size=3), section),
            "labels": values | st.dictionaries(st.text(max_size=3), section),
        },
    )
)
def test_no_default_takes_the_place_of_what_is_written(config: dict[str, object]) -> None:
    result = merged(config, MODELS)

    for name in ("hosts", "labels"):
        before, after = config.get(name), result.get(name)
        if not isinstance(before, dict):
            assert after == before
            continue
        assert isinstance(after, dict)
        for key, each in before.items():
            if isinstance(each, dict):
                assert {k: after[key][k] for k in each} == each
            else:
                assert after[key] == each
