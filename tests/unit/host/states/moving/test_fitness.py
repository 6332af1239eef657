# SPDX-License-Identifier: GPL-2.0-only
"""A VM moves to no host where it cannot be what it was, and nothing is copied for that.

The networks are those of libvirt's test driver, which has no network filters: one is on paper.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest
from lxml import etree

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.exporting import fitness as machine_fitness
from latent_libvirt.host.states.moving import fitness

BRIDGED = """<network><name>bridged</name><forward mode="bridge"/><bridge name="br0"/></network>"""


@pytest.fixture
def there() -> Iterator[libvirt.virConnect]:
    connection = libvirt.open("test:///default")
    network = connection.networkCreateXML(BRIDGED)
    yield connection
    network.destroy()
    connection.close()


@pytest.fixture(autouse=True)
def _fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any machine be fit: the test driver knows none."""
    monkeypatch.setattr(machine_fitness, "check", lambda *_arguments, **_more: None)


def domain(device: str = "", more: str = "") -> str:
    return f"<domain><vcpu>1</vcpu>{more}<devices>{device}</devices></domain>"


def test_a_vm_with_a_network_that_is_there_or_with_none_may_move(there: libvirt.virConnect) -> None:
    network = "<interface type='network'><source network='default'/></interface>"
    for device in ("", "<interface type='user'/>", network):
        fitness.check(there, domain(device), host_cpu="")


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("<interface type='bridge'><source bridge='br0'/></interface>", "network is bridged"),
        ("<interface type='network'><source network='bridged'/></interface>", "is bridged"),
        ("<interface type='network'><source network='lab'/></interface>", "'lab' is not there"),
        ("<hostdev/>", "has a device of its host"),
    ],
)
def test_a_vm_whose_network_or_device_is_not_to_be_had_stays(
    there: libvirt.virConnect, device: str, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why) as refused:
        fitness.check(there, domain(device), host_cpu="")
    assert refused.value.resolution


def test_a_vm_whose_vcpus_are_pinned_stays(there: libvirt.virConnect) -> None:
    pinned = "<cputune><vcpupin vcpu='0' cpuset='4'/></cputune>"

    with pytest.raises(ConfigurationError, match="pinned"):
        fitness.check(there, domain(more=pinned), host_cpu="")


def test_a_vm_whose_filter_is_missing_stays() -> None:
    def look_up(_name: str) -> Any:
        error = libvirt.libvirtError("no filter")
        error.err = (libvirt.VIR_ERR_NO_NWFILTER, 0, "why", 0, "", "", "", 0, 0)
        raise error

    there: Any = SimpleNamespace(nwfilterLookupByName=look_up)
    device = "<interface type='user'><filterref filter='clean-traffic'/></interface>"

    with pytest.raises(ConfigurationError, match="network filter 'clean-traffic' is not there"):
        fitness.check(there, domain(device), host_cpu="")


SAVED = """<domain><name>latent-libvirt-1</name><uuid>u</uuid><seclabel/>
<os><kernel>/a/kernel</kernel><nvram>/a/VARS</nvram></os><devices><emulator>/a/qemu</emulator>
<disk><source file="/a/disk"/><backingStore><source file="/a/base"/></backingStore></disk>
<interface type="network"><mac address="02:00:00:00:00:01"/><port isolated="yes"/>
<source network="default" portid="1" bridge="virbr0"/><target dev="vnet7"/></interface>
</devices></domain>"""


def test_the_guest_sees_the_same_machine_and_nothing_of_its_old_host_is_left() -> None:
    files = {"/a/disk": "/b/disk", "/a/kernel": "/b/kernel"}

    text = fitness.moved_xml(SAVED, files)

    assert "/a/" not in text
    root = etree.fromstring(text)
    assert (root.findtext("name"), root.findtext("uuid")) == ("latent-libvirt-1", "u")
    assert root.findtext("os/kernel") == "/b/kernel"
    (interface,) = root.findall("devices/interface")
    assert [element.tag for element in interface] == ["mac", "port", "source"]
    assert dict(interface.find("source").attrib) == {"network": "default"}  # type: ignore[union-attr]
