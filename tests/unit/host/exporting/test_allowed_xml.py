# SPDX-License-Identifier: GPL-2.0-only
"""XML of an export has what VMs of the pool have, and nothing that reaches for the machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from latent_libvirt.host.exporting.allowed_xml import foreign_parts, parsed_xml

XML = """<domain type="qemu"><name>latent-libvirt-1</name>
<uuid>89e4783d-7c82-5a5c-be0e-b41e7604e403</uuid>
<memory unit="KiB">524288</memory><currentMemory unit="KiB">524288</currentMemory>
<vcpu placement="static">1</vcpu>
<os><type arch="x86_64" machine="pc-q35-7.2">hvm</type>
<kernel>@DIRECTORY@/kernel</kernel><initrd>@DIRECTORY@/initrd</initrd>
<cmdline>root=/dev/vda1 console=ttyS0 quiet</cmdline><boot dev="hd"/></os>
<features><acpi/><apic/></features>
<cpu mode="custom" match="exact" check="none"><model fallback="forbid">qemu64</model></cpu>
<clock offset="utc"/><on_poweroff>destroy</on_poweroff>
<devices>
<disk type="file" device="disk">
<driver name="qemu" type="qcow2" cache="unsafe" discard="unmap" detect_zeroes="unmap"/>
<source file="@DIRECTORY@/vda-0.qcow2"/><target dev="vda" bus="virtio"/>
<address type="pci" domain="0x0000" bus="0x03" slot="0x00" function="0x0"/></disk>
<controller type="usb" index="0" model="none"/>
<controller type="pci" index="1" model="pcie-root-port"><model name="pcie-root-port"/>
<target chassis="1" port="0x8"/></controller>
<interface type="user"><mac address="02:59:5e:f5:0f:6c"/><model type="virtio"/></interface>
<serial type="pty"><target type="isa-serial" port="0"><model name="isa-serial"/></target></serial>
<console type="pty"><target type="serial" port="0"/></console>
<channel type="unix"><target type="virtio" name="org.latent_libvirt.0"/></channel>
<channel type="pty"><target type="virtio" name="org.latent_libvirt.worker.0"/></channel>
<input type="mouse" bus="ps2"/><audio id="1" type="none"/><memballoon model="none"/>
<rng model="virtio"><backend model="random">/dev/urandom</backend></rng>
</devices></domain>"""

LAYERS = ["vda-0.qcow2"]


def foreign(part: str, at: str = "devices") -> list[str]:
    """Return what is foreign in the XML of a real export with a part more."""
    root = etree.fromstring(XML)
    where = root if at == "." else root.find(at)
    assert where is not None
    where.append(etree.fromstring(part))
    return foreign_parts(etree.tostring(root, encoding="unicode"), LAYERS)


def test_nothing_in_a_real_export_is_foreign() -> None:
    assert foreign_parts(XML, LAYERS) == []


@pytest.mark.parametrize(
    ("at", "part"),
    [
        ("os", "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"),
        ("os", "<loader readonly='yes'>/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd</loader>"),
        ("os", "<loader secure='yes'/>"),
        ("os", "<firmware><feature enabled='no' name='secure-boot'/></firmware>"),
        ("features", "<smm state='on'/>"),
        ("features", "<gic version='3'/>"),
        ("cpu", "<feature policy='require' name='svm'/>"),
        (".", "<memoryBacking><hugepages/></memoryBacking>"),
        (".", "<cputune><vcpupin vcpu='0' cpuset='1'/><emulatorpin cpuset='0-1'/></cputune>"),
        ("devices", "<graphics type='vnc'><listen type='none'/></graphics>"),
        (
            "devices",
            "<video><model type='vga' vram='16384' primary='yes'/><address bus='0'/></video>",
        ),
        (
            "devices",
            "<tpm model='x'><backend type='emulator'><profile name='default-v1'/></backend></tpm>",
        ),
        ("devices", "<interface type='network'><source network='n' portid='1-2'/></interface>"),
        ("devices", "<interface type='bridge'><source bridge='br0'/></interface>"),
        ("devices", "<disk type='file'><readonly/><serial>cache</serial></disk>"),
        ("devices", "<watchdog model='itco' action='reset'/>"),
    ],
)
def test_what_vms_of_the_pool_have_is_not_foreign(at: str, part: str) -> None:
    assert foreign(part, at) == []


DISK = "<disk type='file'><source file='{}'/></disk>"


@pytest.mark.parametrize(
    ("at", "part"),
    [
        ("devices", DISK.format("/usr/share/../../home/me/secret.raw")),
        ("devices", DISK.format("../../../../home/me/secret.raw")),
        ("devices", DISK.format("secret.raw")),
        ("devices", DISK.format("/home/me/.ssh/id")),
        ("devices", DISK.format("@DIRECTORY@/../../etc/passwd")),
        ("devices", DISK.format("@DIRECTORY@/evil")),
        ("devices", DISK.format("@DIRECTORY@/vda-0.qcow2/../x")),
        ("devices", "<disk type='file'><driver type='vmdk'/></disk>"),
        ("devices", "<disk type='file'><backingStore/></disk>"),
        ("devices", "<disk type='file' device='lun'/>"),
        ("devices", "<disk type='volume'><source pool='p' volume='v'/></disk>"),
        ("devices", "<disk type='network'><source protocol='ssh' name='x'/></disk>"),
        ("devices", "<disk type='block'><source dev='../dev/sda'/></disk>"),
        ("devices", "<serial type='file'><source path='/usr/share/../x'/></serial>"),
        ("devices", "<serial type='pty'><log file='x'/></serial>"),
        ("devices", "<channel type='tcp'/>"),
        ("devices", "<channel type='unix'><source mode='bind' path='x'/></channel>"),
        ("devices", "<channel type='unix'><target type='virtio' name='../x'/></channel>"),
        ("devices", "<graphics type='vnc'/>"),
        ("devices", "<graphics type='vnc' listen='0.0.0.0'><listen type='none'/></graphics>"),
        ("devices", "<graphics type='vnc'><listen type='address' address='::'/></graphics>"),
        ("devices", "<graphics type='spice'><listen type='none'/></graphics>"),
        ("devices", "<interface type='direct'><source dev='eth0'/></interface>"),
        ("devices", "<interface type='vhostuser'><source type='unix' path='x'/></interface>"),
        ("devices", "<interface type='user'><backend type='passt' logFile='x'/></interface>"),
        ("devices", "<interface type='bridge'><script path='x'/></interface>"),
        ("devices", "<interface type='user'><rom file='x'/></interface>"),
        ("devices", "<tpm model='tpm-crb'><backend type='external'/></tpm>"),
        ("devices", "<tpm model='tpm-crb'><backend type='passthrough'/></tpm>"),
        ("devices", "<memory model='nvdimm'><source><path>x</path></source></memory>"),
        ("devices", "<rng model='virtio'><backend model='egd' type='tcp'/></rng>"),
        ("devices", "<rng model='virtio'><backend model='random'>x</backend></rng>"),
        ("devices", "<input type='evdev'/>"),
        ("devices", "<watchdog model='itco' action='dump'/>"),
        ("devices", "<video><driver name='vhostuser'/></video>"),
        ("devices", "<emulator>/tmp/mine</emulator>"),
        ("devices", "<filesystem><source dir='x'/></filesystem>"),
        ("devices", "<hostdev mode='subsystem'/>"),
        ("os", "<kernel><x/>/home/me/k</kernel>"),
        ("os", "<kernel>k</kernel>"),
        ("os", "<initrd>@DIRECTORY@/initrd/../../x</initrd>"),
        ("os", "<nvram template='/usr/share/OVMF/OVMF_VARS.fd'/>"),
        ("os", "<loader>/usr/share/OVMF/OVMF_CODE.fd</loader>"),
        ("os", "<loader readonly='yes'>/usr/share/OVMF/../../../home/me/x.fd</loader>"),
        ("os", "<loader readonly='yes'>/home/me/x.fd</loader>"),
        ("os", "<dtb>x</dtb>"),
        ("features", "<acpi table='/x'/>"),
        ("cpu", "<model>/x</model>"),
        (".", "<on_crash>coredump-destroy</on_crash>"),
        (".", "<sysinfo type='fwcfg'><entry name='x' file='y'/></sysinfo>"),
        (".", "<c xmlns='http://libvirt.org/schemas/domain/qemu/1.0'><arg value='x'/></c>"),
        (".", "<name>../x</name>"),
    ],
)
def test_what_would_reach_for_the_machine_is_foreign(at: str, part: str) -> None:
    assert foreign(part, at)


def test_it_is_named() -> None:
    (what,) = foreign(DISK.format("/etc/passwd"))
    assert what == "<devices/disk/source file='/etc/passwd'>"


@given(st.data(), st.sampled_from(["/etc/passwd", "../x", "@DIRECTORY@/../x", "/usr/share/../x"]))
def test_a_path_is_foreign_wherever_it_is(data: st.DataObject, path: str) -> None:
    """Only the command line of the guest's kernel may have one."""
    root = etree.fromstring(XML)
    element = data.draw(st.sampled_from([each for each in root.iter() if each.tag != "cmdline"]))
    where = data.draw(st.sampled_from(["text", "tail", "file", *map(str, element.attrib)]))
    if where == "text":
        element.text = path
    elif where == "tail":
        if element is root:
            return
        element.tail = path
    else:
        element.set(where, path)

    assert foreign_parts(etree.tostring(root, encoding="unicode"), LAYERS)


def test_without_layers_no_disk_has_a_file() -> None:
    assert foreign_parts(XML) == ["<devices/disk/source file='@DIRECTORY@/vda-0.qcow2'>"]


def test_comments_and_entities_are_refused() -> None:
    assert foreign("<panic><!-- x --></panic>")
    with pytest.raises(ValueError, match="document type"):
        parsed_xml("<!DOCTYPE domain [<!ENTITY x SYSTEM '/etc/passwd'>]><domain>&x;</domain>")
