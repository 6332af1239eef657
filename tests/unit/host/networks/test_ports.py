# SPDX-License-Identifier: GPL-2.0-only
"""The port that each kind of network can give. libvirt's filters are in tests/integration."""

from __future__ import annotations

from collections.abc import Iterator

import libvirt
import pytest
from lxml import etree
from twisted.logger import capturedLogs

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.domains.domain_xml import Port
from latent_libvirt.host.domains.vm_spec import Network
from latent_libvirt.host.networks.ports import (
    Ports,
    fitting,
    leads_outside,
    obstacle_in,
)

INSIDE = [
    "<network><bridge name='virbr0'/></network>",
    "<network><forward mode='nat'/><bridge name='virbr0'/></network>",
    "<network><forward mode='route'/><bridge name='virbr0'/></network>",
    "<network><forward mode='open'/><bridge name='virbr0'/></network>",
    "<network><forward/><bridge name='virbr0'/></network>",
]
BRIDGES = [
    "<network><forward mode='bridge'/><bridge name='br0'/></network>",
    (
        "<network><forward mode='bridge'/><bridge name='br0'/><portgroup name='x'>"
        "<virtualport type='openvswitch'/></portgroup></network>"
    ),
]
OTHERS = [
    ("<network><forward mode='bridge'><interface dev='eth0'/></forward></network>", "macvtap"),
    ("<network><forward mode='private'><interface dev='eth0'/></forward></network>", "macvtap"),
    ("<network><forward mode='vepa'><interface dev='eth0'/></forward></network>", "macvtap"),
    ("<network><forward dev='eth0' mode='passthrough'/></network>", "macvtap"),
    ("<network><forward mode='hostdev'><pf dev='eth0'/></forward></network>", "network cards"),
    (
        (
            "<network><forward mode='bridge'/><bridge name='ovs'/>"
            "<virtualport type='openvswitch'/></network>"
        ),
        "openvswitch",
    ),
    (
        (
            "<network><forward mode='bridge'/><bridge name='ovs'/><portgroup name='x' "
            "default='yes'>"
            "<virtualport type='openvswitch'/></portgroup></network>"
        ),
        "openvswitch",
    ),
    (
        (
            "<network><forward mode='bridge'><interface dev='eth0'/></forward>"
            "<virtualport type='802.1Qbh'/></network>"
        ),
        "802.1Qbh",
    ),
]
MACVTAP = """<network><name>direct</name>
<forward mode='bridge'><interface dev='eth0'/></forward></network>"""


@pytest.fixture
def connection() -> Iterator[libvirt.virConnect]:
    """Give a hypervisor with a network of libvirt's, ``default``, and no filters."""
    connection = libvirt.open("test:///default")
    yield connection
    connection.close()


@pytest.fixture
def direct(connection: libvirt.virConnect) -> Iterator[None]:
    """Give it a network by macvtap."""
    network = connection.networkDefineXML(MACVTAP)
    network.create()
    yield
    network.destroy()
    network.undefine()


@pytest.mark.parametrize("xml", INSIDE + BRIDGES)
def test_on_a_bridge_of_linux_ports_can_be_isolated_and_filtered(xml: str) -> None:
    assert obstacle_in(etree.fromstring(xml)) is None


@pytest.mark.parametrize(("xml", "why"), OTHERS)
def test_on_anything_else_they_cannot_and_it_is_said_why(xml: str, why: str) -> None:
    assert why in str(obstacle_in(etree.fromstring(xml)))


@pytest.mark.parametrize("xml", INSIDE)
def test_a_network_of_the_host_alone_has_no_other_machines(xml: str) -> None:
    assert not leads_outside(etree.fromstring(xml))


@pytest.mark.parametrize("xml", [*BRIDGES, *(xml for xml, _why in OTHERS)])
def test_a_network_that_is_on_another_one_has_its_machines(xml: str) -> None:
    assert leads_outside(etree.fromstring(xml))


def test_a_network_without_a_bridge_gets_a_plain_port_and_both_lacks_are_told(
    connection: libvirt.virConnect, direct: None
) -> None:
    found = fitting(connection, Network("network", "direct"))

    assert found.port == Port(isolated=False, filter=None)
    assert [("network direct" in lack, "macvtap" in lack) for lack in found.lacks] == [
        (True, True)
    ] * 2


def test_a_host_without_filters_still_isolates_ports_and_the_lack_is_told(
    connection: libvirt.virConnect,
) -> None:
    for network in (Network("network", "default"), Network("bridge", "br0")):
        found = fitting(connection, network)

        assert found.port == Port(isolated=True, filter=None)
        (lack,) = found.lacks
        assert "no filter 'clean-traffic'" in lack
        assert "pretend" in lack


def test_a_lack_is_logged_once_for_each_host(connection: libvirt.virConnect) -> None:
    ports = Ports("alpha")

    with capturedLogs() as events:
        for _ in range(3):
            ports.port(connection, Network("network", "default"))

    assert [event["host"] for event in events] == ["alpha"]


@pytest.mark.parametrize("name", ["clean-traffic", "my-own"])
def test_a_filter_that_a_label_names_and_that_is_not_there_is_refused_by_name(
    connection: libvirt.virConnect, name: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        fitting(connection, Network("network", "default", name))

    assert f"'{name}'" in caught.value.brief
    assert "network default" in caught.value.brief
    assert "filter to 'none'" in str(caught.value.resolution)


def test_a_filter_that_a_label_names_is_refused_where_nothing_can_be_filtered(
    connection: libvirt.virConnect, direct: None
) -> None:
    with pytest.raises(ConfigurationError, match="macvtap"):
        fitting(connection, Network("network", "direct", "clean-traffic"))


def test_who_wants_no_filter_hears_nothing_of_its_lack(connection: libvirt.virConnect) -> None:
    found = fitting(connection, Network("network", "default", "none"))

    assert (found.port, found.lacks) == (Port(isolated=True, filter=None), ())


def test_a_network_that_is_not_there_is_the_configurations_fault(
    connection: libvirt.virConnect,
) -> None:
    with pytest.raises(ConfigurationError, match="has no network 'nowhere'"):
        fitting(connection, Network("network", "nowhere"))


def test_the_user_mode_network_needs_nothing_of_all_that(connection: libvirt.virConnect) -> None:
    assert fitting(connection, Network("user")).lacks == ()
