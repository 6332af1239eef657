# SPDX-License-Identifier: GPL-2.0-only
"""Commands in what people are told: pasted into a shell, each names the very thing it is about."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from latent_libvirt import advice
from latent_libvirt.advice import page
from latent_libvirt.cli.proposal.pool_template import (
    Size,
    Starter,
)
from latent_libvirt.doctor import connectivity, network
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host import inventory
from latent_libvirt.host.domains.vm_spec import Network
from latent_libvirt.host.volumes import (
    images,
    storage,
)
from latent_libvirt.images import local, source

NAMES = ["My Pool", "a'b", 'say "hi"', "$(touch owned)", "`id`", "a;b&c|d", "-x", "*", "ž"]
URI = "qemu+ssh://builder@host/system?keyfile=/my keys/id&no_tty=1"


@pytest.fixture
def connection() -> Iterator[libvirt.virConnect]:
    opened = libvirt.open("test:///default")
    yield opened
    opened.close()


def commands(text: str) -> list[list[str]]:
    """Return the words, as a shell sees them, of each command line in *text*."""
    lines = (line.strip() for line in text.splitlines())
    programs = ("virsh ", "latent-libvirt ", "ip ", "qemu-img ")
    return [shlex.split(line) for line in lines if line.startswith(programs)]


@pytest.mark.parametrize("name", NAMES)
def test_how_to_make_a_storage_pool_can_be_pasted(
    connection: libvirt.virConnect, name: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        storage.storage_pool(connection, name)

    told = commands(str(caught.value))
    assert [words[:3] for words in told] == [["virsh", "-c", "test:///default"]] * 4
    assert [words[4] for words in told] == [name] * 4


@pytest.mark.parametrize("name", NAMES[:1])
def test_how_to_start_a_storage_pool_can_be_pasted(
    connection: libvirt.virConnect, name: str
) -> None:
    xml = f"<pool type='dir'><name>{name}</name><target><path>/pool</path></target></pool>"
    pool = connection.storagePoolDefineXML(xml)
    try:
        with pytest.raises(ConfigurationError) as caught:
            storage.storage_pool(connection, name)
        published = images.how_to_publish(pool, "debian-12")
    finally:
        pool.undefine()

    expected = ["virsh", "-c", "test:///default", "pool-start", name]
    assert commands(str(caught.value)) == [expected]
    assert commands(published)[0][-1] == name


def test_how_to_start_a_network_can_be_pasted(connection: libvirt.virConnect) -> None:
    defined = connection.networkDefineXML("<network><name>my net</name></network>")
    try:
        with pytest.raises(ConfigurationError) as caught:
            inventory.active_network(connection, "my net")
    finally:
        defined.undefine()

    assert [words[3:] for words in commands(str(caught.value))] == [
        ["net-start", "my net"],
        ["net-autostart", "my net"],
    ]


@pytest.mark.parametrize("name", NAMES)
def test_how_a_bridge_carries_a_new_guest_at_once_can_be_pasted(name: str) -> None:
    net = commands(network._quicker(Network("network", name), URI))
    bridge = commands(network._quicker(Network("bridge", name), URI))

    assert [words[:3] for words in net] == [["virsh", "-c", URI]] * 3
    assert [words[3:] for words in net] == [
        [f"net-{verb}", name] for verb in ("edit", "destroy", "start")
    ]
    assert [words[:4] for words in bridge] == [["ip", "link", "set", name]]


@pytest.mark.parametrize("name", NAMES)
def test_how_to_make_one_file_of_a_disk_can_be_pasted(name: str) -> None:
    told = commands(source._convert(Path("a b", name)))

    assert told == [["qemu-img", "convert", "-O", "qcow2", f"a b/{name}", "FILE"]]


def test_how_to_reach_a_host_can_be_pasted() -> None:
    assert commands(connectivity.advice(URI, "no route")) == [["virsh", "-c", URI, "version"]]


@pytest.mark.parametrize("directory", NAMES)
def test_how_to_build_an_image_can_be_pasted(tmp_path: Path, directory: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        local.newest(tmp_path / directory, "debian-12")

    assert commands(str(caught.value))[0][-1] == str(tmp_path / directory)


@pytest.mark.parametrize("pool", NAMES)
def test_what_to_do_after_init_can_be_pasted(pool: str) -> None:
    size = Size(slots=1, vcpus=1, memory=2**29)
    starter = Starter(
        "here", URI, pool, has_pool=False, image="debian-12", published=False, size=size
    )
    told = commands(starter.next_steps("my pool.yaml"))

    assert [words for words in told if words[0] == "virsh" and URI not in words] == []
    assert [words[4] for words in told if words[0] == "virsh"] == [pool] * 4
    assert told[-2][-3:] == [URI, "--pool", pool]
    assert told[-1] == ["latent-libvirt", "doctor", "my pool.yaml"]


def test_a_command_is_what_a_shell_makes_its_words_of_again() -> None:
    assert shlex.split(advice.virsh(URI, *NAMES)) == ["virsh", "-c", URI, *NAMES]


def test_a_page_is_named_where_it_lies(tmp_path: Path) -> None:
    installed, repository = tmp_path / "installed", tmp_path / "repository"

    def found() -> str:
        return page("docs/glossary.md", installed=installed, repository=repository)

    assert found() == "docs/glossary.md"
    for directory in (repository, installed):
        directory.mkdir()
        (directory / "glossary.md").touch()
        assert found() == str(directory / "glossary.md")


def test_every_page_that_a_message_names_is_there_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    package = Path(advice.__file__).parents[1]
    texts = (path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    named = {name for text in texts for name in re.findall(r"docs/[a-z/-]+\.md", text)}

    assert len(named) > 5
    assert [name for name in named if not Path(page(name)).is_file()] == []
