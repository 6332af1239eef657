# SPDX-License-Identifier: GPL-2.0-only
"""What a configuration is once it is valid: defaults, immutability, comparison, look-ups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from latent_libvirt.config import (
    HostConfig,
    ImageConfig,
    LabelConfig,
    MasterConfig,
    NetworkConfig,
    PoolConfig,
)

Problems = Callable[[str | bytes], list[str]]
Load = Callable[[str | bytes], PoolConfig]

SECTIONS = (MasterConfig, HostConfig, ImageConfig, LabelConfig, NetworkConfig)


@pytest.fixture
def config(load_text: Load, good: str) -> PoolConfig:
    return load_text(good)


def test_what_is_left_out_has_a_default(config: PoolConfig) -> None:
    label = config.labels["large"]
    assert (label.vcpus, label.memory, label.disk) == (1, 512 * 2**20, None)
    assert (label.boot_timeout, label.attach_timeout, label.shutdown_timeout) == (180, 60, 60)
    assert (label.shutdown, label.user, label.launch_attempts) == ("destroy", "worker", 3)
    assert label.network == NetworkConfig()
    assert config.hosts["alpha"].accelerator == "auto"


def test_a_label_without_a_cap_has_the_masters(config: PoolConfig) -> None:
    assert config.labels["debian-12"].max_vms == config.master.max_vms == 4
    assert config.labels["large"].max_vms == 1


def test_a_cap_of_zero_drains(load_text: Load, good: str) -> None:
    config = load_text(good.replace("max_vms: 4", "max_vms: 0").replace("slots: 4", "slots: 0"))
    assert (config.master.max_vms, config.hosts["alpha"].slots) == (0, 0)
    assert config.labels["debian-12"].max_vms == 0


@pytest.mark.parametrize(
    ("network", "kind", "source"),
    [
        ("user", "user", None),
        ("{network: default}", "network", "default"),
        ("{bridge: br0}", "bridge", "br0"),
    ],
)
def test_a_network_is_of_one_of_three_kinds(
    load_text: Load, good: str, network: str, kind: str, source: str | None
) -> None:
    label = load_text(good.replace("memory: 1GiB", f"network: {network}")).labels["debian-12"]
    assert (label.network.kind, label.network.source) == (kind, source)


def test_a_label_without_hosts_may_run_on_all(config: PoolConfig) -> None:
    assert config.hosts_for("debian-12") == ("alpha", "beta")
    assert config.hosts_for("large") == ("beta",)


def test_an_image_is_known_by_the_name_it_was_published_under(config: PoolConfig) -> None:
    pinned = config.image_for(config.labels["large"])
    assert pinned == ImageConfig(name="debian-12", digest="3f9a0c52d1e7")
    assert config.image_for(config.labels["debian-12"]) == ImageConfig(name="debian-12")


def test_a_pinned_image_without_a_name_has_that_of_its_key(load_text: Load, good: str) -> None:
    config = load_text(good.replace("    name: debian-12\n", ""))
    assert config.image_for(config.labels["large"]).name == "pinned"


def test_a_volume_has_no_published_name(load_text: Load, good: str) -> None:
    text = good.replace("    name: debian-12\n", "").replace(
        "digest: 3f9a0c52d1e7", "volume: a.qcow2"
    )
    config = load_text(text)
    assert config.image_for(config.labels["large"]) == ImageConfig(volume="a.qcow2")


ONE_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINGZGBfq1BVrN0EhNDzxdkqVM5RAqJchrV9KN1a3hVUA ops@example"
)
ANOTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def test_keys_of_the_master_are_for_all_images_without_keys(load_text: Load, good: str) -> None:
    text = good.replace("max_vms: 4\n", f"max_vms: 4\n  require_signed: {ONE_KEY}\n").replace(
        "    name: debian-12\n", f"    name: debian-12\n    require_signed: [{ANOTHER}]\n"
    )
    config = load_text(text)

    assert config.image_for(config.labels["debian-12"]).require_signed == (ONE_KEY,)
    assert config.image_for(config.labels["large"]).require_signed == (ANOTHER,)


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("/etc/ssh/key.pub", "is no public ssh key"),
        ("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAINGZGBfq1BVrN0EhNDzxdkqVM5RAqJchrV9KN1a3hVUA", "is no p"),
        ("'-----BEGIN OPENSSH PRIVATE KEY-----'", "that is a private key"),
        ("[]", "the list is empty"),
    ],
)
def test_what_is_no_public_key_is_refused(
    problems_of: Problems, good: str, key: str, what: str
) -> None:
    text = good.replace("max_vms: 4\n", f"max_vms: 4\n  require_signed: {key}\n")

    (problem,) = problems_of(text)

    assert problem.startswith("3:")
    assert what in problem


def test_a_canary_is_a_percentage_of_the_vms(load_text: Load, good: str) -> None:
    text = good.replace("    digest: 3f9a0c52d1e7\n", "    canary: 10%\n")
    config = load_text(text)

    assert config.image_for(config.labels["large"]).canary == 0.1
    assert config.images["pinned"].model_dump(mode="json")["canary"] == "10%"


@pytest.mark.parametrize("share", ["0%", "100%", "101%", "0.5%", "10", "0.1", "ten%", "-1%", "[]"])
def test_what_is_no_share_is_refused(problems_of: Problems, good: str, share: str) -> None:
    text = good.replace("    digest: 3f9a0c52d1e7\n", f"    canary: {share}\n")

    (problem,) = problems_of(text)

    assert "is not a share; write a whole percentage from 1% to 99%" in problem


def test_configurations_of_the_same_content_are_equal(load_text: Load, good: str) -> None:
    one, other = load_text(good), load_text(good.replace("memory: 1GiB", "memory: 1024MiB"))
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_vms: 4", "max_vms: 5"),
        ("slots: 2", "slots: 3"),
        ("memory: 1GiB", "memory: 2GiB"),
        ("3f9a0c52d1e7", "3f9a0c52d1e8"),
        ("hosts: [beta]", "network: {bridge: br0}"),
        ("  large:", "  larger:"),
    ],
)
def test_every_change_makes_a_difference(load_text: Load, good: str, old: str, new: str) -> None:
    assert load_text(good) != load_text(good.replace(old, new))


def test_nothing_can_be_changed(config: PoolConfig) -> None:
    with pytest.raises(ValidationError):
        config.master.max_vms = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.labels["other"] = config.labels["large"]  # type: ignore[index]


def test_a_configuration_written_as_json_is_read_as_the_same(config: PoolConfig) -> None:
    written = config.model_dump(mode="json", exclude_none=True)
    assert written["labels"]["debian-12"]["memory"] == "1GiB"
    assert written["labels"]["debian-12"]["boot_timeout"] == "3m"
    assert PoolConfig.model_validate(written) == config


def test_every_key_is_described_and_has_an_example() -> None:
    for model in SECTIONS:
        for name, field in model.model_fields.items():
            assert field.description, name
            assert field.examples, name


def test_every_default_in_the_json_schema_is_what_a_file_would_say() -> None:
    for model, key, text in _schema_defaults():
        default = model.model_fields[key].get_default(call_default_factory=True)
        assert default is not PydanticUndefined
        assert _validated(model, key, text) == default


def _schema_defaults() -> Iterator[tuple[type[BaseModel], str, Any]]:
    definitions = PoolConfig.model_json_schema()["$defs"]
    for model in SECTIONS:
        properties = definitions.get(model.__name__, {}).get("properties", {})
        for key, schema in properties.items():
            if "default" in schema:
                yield model, key, schema["default"]


def _validated(model: type[BaseModel], key: str, value: Any) -> Any:
    required = {
        name: field.examples[0]
        for name, field in model.model_fields.items()
        if field.is_required() and field.examples
    }
    return getattr(model.model_validate({**required, key: value}), key)
