# SPDX-License-Identifier: GPL-2.0-only
"""XML in an export has no secrets and no paths, and the machine as the guest has seen it."""

from __future__ import annotations

from latent_libvirt.host.exporting.portable_xml import placed_xml, portable_xml, source_files

XML = """<domain type="kvm">
<name>latent-libvirt-1</name><title>check for worker w</title>
<metadata><vm xmlns="urn:x" master="host:/srv/master"/></metadata>
<os><type machine="q35">hvm</type><kernel>/pool/kernel</kernel></os>
<cpu mode="custom"><model>EPYC</model></cpu>
<devices>
<disk type="file"><auth username="u"><secret type="ceph" uuid="s"/></auth>
<source file="/pool/overlay"/><backingStore><source file="/pool/base"/></backingStore>
<target dev="vda"/></disk>
<interface type="network"><source network="n"/><filterref filter="f"/></interface>
<channel type="unix"><source mode="bind" path="/run/x"/><target name="org"/></channel>
<graphics type="vnc" passwd="hunter2" passwdValidTo="2030"/>
</devices></domain>"""

FILES = {"/pool/kernel": "kernel", "/pool/overlay": "vda-0.qcow2"}


def test_it_has_no_secret_and_no_owner() -> None:
    xml = portable_xml(XML, FILES)

    for word in ("hunter2", "2030", "/srv/master", "worker w", "ceph", "/run/x", "filterref"):
        assert word not in xml
    for word in ("latent-libvirt-1", "EPYC", "q35", '<target dev="vda"/>', 'network="n"'):
        assert word in xml


def test_its_files_are_found_in_any_directory() -> None:
    xml = placed_xml(portable_xml(XML, FILES), "/home/me/a b&c")

    assert source_files(xml) == {
        "vda": "/home/me/a b&c/vda-0.qcow2",
        "kernel": "/home/me/a b&c/kernel",
    }
    assert "/pool" not in xml


def test_no_channel_has_a_socket_whose_path_could_be_too_long() -> None:
    for xml in (portable_xml(XML, FILES), placed_xml(XML, "/home/me")):
        assert '<channel type="pty">' in xml
        assert 'type="unix"' not in xml
