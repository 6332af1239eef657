# SPDX-License-Identifier: GPL-2.0-only
"""The XML of volumes."""

from __future__ import annotations

from lxml import etree

from latent_libvirt.host.volumes.volume_xml import overlay_xml


def test_an_overlay_names_its_backing_file_and_both_formats() -> None:
    volume = etree.fromstring(overlay_xml("o.qcow2", capacity=10, backing_path="/pool/base.qcow2"))

    assert volume.findtext("name") == "o.qcow2"
    assert volume.findtext("capacity") == "10"
    assert volume.findtext("backingStore/path") == "/pool/base.qcow2"
    assert [f.get("type") for f in volume.iter("format")] == ["qcow2", "qcow2"]
    assert volume.findtext("target/compat") == "1.1"
