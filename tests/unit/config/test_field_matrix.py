# SPDX-License-Identifier: GPL-2.0-only
"""Each key of each section with values of every kind: taken as meant, or refused with a place.

The keys come from the models, so that a new one is tried, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from latent_libvirt.config import (
    DestinationConfig,
    HostConfig,
    ImageConfig,
    InvalidConfiguration,
    LabelConfig,
    MasterConfig,
    NetworkConfig,
    PoolConfig,
)
from latent_libvirt.config.sections.spares import SparePeriod, SparesConfig

Load = Callable[[str | bytes], PoolConfig]

SECTIONS: dict[str, type[BaseModel]] = {
    "master": MasterConfig,
    "host": HostConfig,
    "image": ImageConfig,
    "label": LabelConfig,
    "network": NetworkConfig,
    "destination": DestinationConfig,
    "spares": SparesConfig,
    "period": SparePeriod,
    "root": PoolConfig,
}
VALUES = (
    *("null", "[]", "[1, a]", "{}", "{a: 1}", "''", "'   '", '"\\t\\n"', "0", "-1", "1.5", "1.0"),
    *("1e30", "1" + "0" * 30, "9" * 5000, ".inf", "-.inf", ".nan", "yes", "on", "off", "true"),
    *("2024-01-01", "1:30", "0x10", "0o17", "1_000", "'1234'", '"\\u0665MiB"', '"\\u0669s"'),
    *('"a\\0b"', '"a\\nb"', '"alpha\\n"', '"a\\e[2Jb"', '"a\\u202Eb"', '"a\\u200Bb"'),
    *('"a\\uFEFFb"', "x" * 10_000, "' x'", "'x '", "'-x'", "a/b", "'..'", "'<a>&'", "'a,b=c'"),
    *("žluťoučký", "&a x", "*a", "!!str 5", "!!binary aGVsbG8=", "!!python/name:os.system x"),
    *("256.1.1.1", "'10.1'", "0.0.0.0", "'::'", "'fe80::1%eth0'", '"fe80::1%\\n<x>"'),
    *("224.0.0.1", "255.255.255.255", "224.0.0.1:9177", "'[fe80::1%a]:9177'", "a" * 256),
)
OF_EACH_KIND = tuple(
    value
    for value in VALUES
    if value in ("null", "[1, a]", "{a: 1}", "''", "0", "-1", "1.5", "yes", "true", "'1234'", "*a")
    or value.startswith(('"a\\0', '"a\\e', "' x'", "xxx", "999", "aaa"))
)
"""A value of each kind, for keys of a type that another key has, too."""

LONGEST = 255
"""Bytes of the longest text that is a name anywhere: that of a file."""


def keys() -> Iterator[tuple[str, str]]:
    for section, model in SECTIONS.items():
        for key in model.model_fields:
            yield section, key


def types() -> dict[str, tuple[str, str]]:
    """Return the first key of each type, by that type with all that checks it."""
    found: dict[str, tuple[str, str]] = {}
    for section, key in keys():
        field = SECTIONS[section].model_fields[key]
        found.setdefault(repr((field.annotation, field.metadata)), (section, key))
    return found


FIRST_OF_TYPE = set(types().values())


def document(section: str, key: str, value: str) -> str:
    """Return a good file, but for one value."""
    good: dict[str, dict[str, str]] = {
        "master": {"max_vms": "4"},
        "host": {"uri": "'qemu:///system'", "slots": "4", "storage_pool": "default"},
        "image": {} if key == "volume" else {"name": "debian-12"},
        "label": {"image": "one"},
        "network": {},
        "destination": {} if key == "group" else {"name": "a.example", "port": "80"},
        "spares": {"count": "1"},
        "period": {"when": "'* * * * *'", "count": "1"},
    }
    good.get(section, {})[key] = value
    if section == "period":
        good["spares"]["periods"] = f"[{flow(good['period'])}]"
    if section in ("spares", "period"):
        good["label"]["spares"] = flow(good["spares"])
    if section == "destination":
        good["network"]["allow"] = f"[{flow(good['destination'])}]"
        good["label"]["connection"] = "channel"
    if section in ("network", "destination"):
        good["label"]["network"] = flow(good["network"])
    root = {
        "master": flow(good["master"]),
        "hosts": f"{{alpha: {flow(good['host'])}}}",
        "images": f"{{one: {flow(good['image'])}}}",
        "labels": f"{{a: {flow(good['label'])}}}",
    }
    root |= {key: value} if section == "root" else {}
    return "".join(f"{name}: {text}\n" for name, text in root.items())


def flow(mapping: dict[str, str]) -> str:
    return f"{{{', '.join(f'{key}: {value}' for key, value in mapping.items())}}}"


def texts(value: Any) -> Iterator[str]:
    """Yield all text in what was dumped."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (*texts(key), *texts(inner))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)


@pytest.mark.parametrize(("section", "key"), list(keys()))
def test_each_value_is_taken_as_meant_or_refused_with_its_place(
    load_text: Load, section: str, key: str
) -> None:
    for value in VALUES if (section, key) in FIRST_OF_TYPE else OF_EACH_KIND:
        try:
            config = load_text(document(section, key, value))
        except InvalidConfiguration as error:
            check_refused(error)
        else:
            check_taken(config, value)


def check_refused(error: InvalidConfiguration) -> None:
    for problem in error.problems:
        assert problem.line is not None
        assert problem.remedy
        assert str(problem).isprintable()
        assert len(str(problem)) < 1000, str(problem)


def check_taken(config: PoolConfig, value: str) -> None:
    for text in texts(config.model_dump()):
        assert text.isprintable(), value
        assert text == text.strip(), value
        assert len(text.encode()) <= LONGEST, value


@pytest.mark.parametrize("section", ["master", "host", "label"])
@pytest.mark.parametrize(
    "address",
    [
        *("256.1.1.1", "'10.1'", "'1234'", "0.0.0.0", "'::'", "224.0.0.1", "'ff02::1'"),
        *("255.255.255.255", "'fe80::1%eth0'", '"fe80::1%\\n<x>"'),
    ],
)
def test_an_address_that_no_guest_can_connect_to_is_refused(
    load_text: Load, section: str, address: str
) -> None:
    with pytest.raises(InvalidConfiguration, match=r"address"):
        load_text(document(section, "address", address))


@pytest.mark.parametrize("address", ["192.0.2.1", "'2001:db8::1'", "a1.example.org", "b-2", "h2o."])
def test_an_address_of_one_machine_is_taken(load_text: Load, address: str) -> None:
    assert load_text(document("master", "address", address)).master.address == address.strip("'")


@pytest.mark.parametrize("name", ["a234567890123456", "'br 0'", "'br0:1'", "'žžžžžžžž'"])
def test_what_linux_takes_for_no_interface_is_no_bridge(load_text: Load, name: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"ip link"):
        load_text(document("network", "bridge", name))
