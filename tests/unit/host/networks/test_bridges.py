# SPDX-License-Identifier: GPL-2.0-only
"""For how long a bridge does not hear a new guest, by what libvirt says of it."""

from __future__ import annotations

import libvirt
import pytest
from lxml import etree

from latent_libvirt.host.domains.vm_spec import Network
from latent_libvirt.host.networks.bridges import (
    silence,
    silence_of,
)


@pytest.mark.parametrize(
    ("xml", "seconds"),
    [
        ("<bridge name='virbr0' stp='on' delay='0'/>", 4.0),
        ("<bridge name='virbr0' stp='on'/>", 4.0),
        ("<bridge stp='on' delay='15.00'/>", 30.0),
        ("<bridge name='virbr0' stp='off' delay='0'/>", 0.0),
        ("<bridge stp='off' delay='15.00'/>", 15.0),
        ("<bridge name='br0'/>", 0.0),
        ("<bridge stp='off' delay='soon'/>", 0.0),
        ("<bridge stp='off' delay='inf'/>", 0.0),
        ("<bridge stp='on' delay='nan'/>", 4.0),
        ("<bridge stp='off' delay='-1'/>", 0.0),
        ("<bridge stp='on' delay='1e300'/>", 4.0),
    ],
)
def test_spanning_tree_listens_and_learns_and_a_delay_alone_only_learns(
    xml: str, seconds: float
) -> None:
    assert silence_of(etree.fromstring(xml)) == seconds


def test_both_networks_and_bridges_of_a_host_are_looked_at() -> None:
    connection = libvirt.open("test:///default")
    try:
        slow = "<network><name>slow</name><bridge name='virbr9' stp='on' delay='0'/></network>"
        connection.networkDefineXML(slow)
        connection.interfaceDefineXML(
            "<interface type='bridge' name='br0'><start mode='onboot'/>"
            "<bridge stp='on' delay='2'><interface type='ethernet' name='eth9'/></bridge>"
            "</interface>"
        )

        assert silence(connection, Network("network", "slow")) == 4.0
        assert silence(connection, Network("bridge", "br0")) == 4.0
        assert silence(connection, Network("bridge", "unknown0")) == 0.0
        assert silence(connection, Network("user")) == 0.0
    finally:
        connection.close()
