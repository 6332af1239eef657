# SPDX-License-Identifier: GPL-2.0-only
"""A fragment of domain XML: what may stand there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from latent_libvirt.config import domain_fragment

GOOD = [
    "<devices><watchdog model='i6300esb'/></devices>",
    "<memoryBacking><hugepages/></memoryBacking><cputune><vcpupin vcpu='0' cpuset='2'/></cputune>",
    "<!-- why --><description>of a site</description>",
    "<qemu:commandline><qemu:arg value='-foo'/></qemu:commandline>",
    "<os><loader readonly='yes' type='pflash'>/usr/share/x.fd</loader></os>",
    "<devices><disk type='file'><source file='/a'/><target dev='vdc'/></disk></devices>",
    "<newer>than this package</newer>",
    "<devices><channel type='unix'><target name='org.example.0'/></channel></devices>",
    "<devices><memory model='nvdimm'/></devices>",
]
BAD = [
    ("", "no element"),
    (" <!-- nothing --> ", "no element"),
    ("<devices>", "not XML"),
    ("<devices><a></devices>", "not XML"),
    ("watchdog", "outside of any element"),
    ("</domain><domain>", "not XML"),
    ("<?xml version='1.0'?><devices/>", "not XML"),
    ("<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", "not XML"),
    ("<description>&x;</description>", "not XML"),
    ("<other:thing/>", "not XML"),
    ("<a>\0</a>", "not XML"),
    ("<a>" * 400, "not XML"),
    ("<description>" + "x" * 70_000 + "</description>", "out of reach"),
    ("<domain type='kvm'><devices/></domain>", "write what stands below <domain>"),
    ("<watchdog model='i6300esb'/>", "put it into <devices>"),
    ("<device/>", "did you mean <devices>?"),
    ("<feature/>", "did you mean <features>?"),
    ("<name>mine</name>", "<name> belongs to the pool"),
    ("<uuid>1</uuid>", "<uuid> belongs to the pool"),
    ("<metadata/>", "<metadata> belongs to the pool"),
    ("<memory>1</memory>", "`memory`"),
    ("<currentMemory>1</currentMemory>", "`memory`"),
    ("<devices><memory model='dimm'/></devices>", "on top of the label's `memory`"),
    ("<devices xmlns='http://a'><serial/></devices>", "the namespace 'http://a'"),
    ("<x:name xmlns:x='http://a'>mine</x:name>", "<name> is of the namespace 'http://a'"),
    ("<vcpu>4</vcpu>", "`vcpus`"),
    ("<on_reboot>restart</on_reboot>", "ends a VM for good"),
    ("<os><kernel>/k</kernel></os>", "the image"),
    ("<os><type>hvm</type></os>", "`machine`"),
    ("<devices><serial type='pty'/></devices>", "what the pool reads"),
    ("<devices><disk><target dev='vda'/></disk></devices>", "the disk 'vda'"),
    ("<devices><disk><target dev='vdb'/></disk></devices>", "the disk 'vdb'"),
    (
        "<devices><channel><target name='org.latent_libvirt.0'/></channel></devices>",
        "the channel 'org.latent_libvirt.0'",
    ),
]


@pytest.mark.parametrize("text", GOOD)
def test_what_a_site_needs_may_stand_there(text: str) -> None:
    assert domain_fragment.fragment(text) == text


@pytest.mark.parametrize(("text", "why"), BAD)
def test_what_is_no_xml_or_belongs_to_the_pool_is_refused_with_the_reason(
    text: str, why: str
) -> None:
    with pytest.raises(PydanticCustomError) as refused:
        domain_fragment.fragment(text)

    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("<os><loader>/usr/share/x.fd</loader></os>", ["/usr/share/x.fd"]),
        ("<devices><disk><source file='/srv/../etc/x'/></disk></devices>", ["/srv/../etc/x"]),
        ("<qemu:commandline><qemu:arg value='file=/a,x=/b'/></qemu:commandline>", ["/a", "/b"]),
        ("<devices><disk><source file='../../etc/x'/></disk></devices>", ["../../etc/x"]),
        ("<devices><disk><source file='x.iso'/></disk></devices>", ["x.iso"]),
        ("<qemu:commandline><qemu:arg value='file=./a'/></qemu:commandline>", ["./a"]),
        ("<description>either/or &#47;c</description>", ["/c"]),
        ("<a b='/srv/a b/../../etc/x'/>", ["/srv/a", "../../etc/x"]),
        ("<a b='/srv/a,b/../../etc/x'/>", ["/srv/a", "../../etc/x"]),
        ("<a b='file=../etc/x,y=./z'/>", ["../etc/x", "./z"]),
        ("<a b='[/etc/x]'/>", ["/etc/x]"]),
        ("<emulator><x/>/bin/sh</emulator>", ["/bin/sh"]),
        ("<emulator>/bin<!-- why -->/sh</emulator>", ["/bin/sh"]),
        ("<devices><watchdog model='i6300esb'/></devices>", []),
        ("<devices>", []),
    ],
)
def test_the_paths_of_a_fragment_are_found_wherever_they_stand(text: str, paths: list[str]) -> None:
    assert domain_fragment.paths_in(text) == paths


@pytest.mark.parametrize("value", ["/.. " * 16_000, "/a,b/../" * 8_000, "x/.." * 16_000])
def test_paths_of_the_longest_value_take_no_more_room_than_it_has(value: str) -> None:
    found = domain_fragment.paths_in(f"<a b='{value}'/>")

    assert found
    assert sum(map(len, found)) <= 2 * len(value)


@pytest.mark.parametrize(
    ("path", "allowed", "is_below"),
    [
        ("/srv/vms/a", "/srv/vms", True),
        ("/srv/vms", "/srv/vms", True),
        ("/srv/vms-other", "/srv/vms", False),
        ("/srv/vms/../../etc", "/srv/vms", False),
        ("//srv/vms/a", "/srv/vms", False),
        ("/etc", "/", True),
    ],
)
def test_a_path_is_allowed_with_all_below_it(
    path: str,
    allowed: str,
    is_below: bool,  # noqa: FBT001
) -> None:
    assert domain_fragment.is_below(path, allowed) == is_below


@pytest.mark.parametrize(
    ("master", "problem"),
    [
        ("", "labels.debian-12.domain_xml: the path '/srv/a.img' is not allowed; add its"),
        ("domain_xml_paths: [/srv/b]", "the path '/srv/a.img' is not allowed"),
        ("domain_xml_paths: /srv", "master.domain_xml_paths: '/srv' is not a list"),
        ("domain_xml_paths: [srv]", "domain_xml_paths[0]: 'srv' is not a whole path"),
        ("domain_xml_paths: [/srv/..]", "domain_xml_paths[0]: '/srv/..' goes up"),
        ("domain_xml_paths: [/srv/]", ""),
    ],
)
def test_a_path_that_the_file_does_not_allow_is_refused_where_it_stands(
    master: str, problem: str, good: str, problems_of: Callable[[str], list[str]]
) -> None:
    disk = '<devices><disk><source file="/srv/a.img"/><target dev="vdc"/></disk></devices>'
    text = good.replace("memory: 1GiB", f"domain_xml: '{disk}'")

    problems = problems_of(text.replace("max_vms: 4", f"max_vms: 4\n  {master}"))

    assert problem in "\n".join(problems)
    assert bool(problem) == bool(problems)


@pytest.mark.parametrize(
    ("paths", "is_fine"), [("[]", False), ("[/srv]", False), ("[/]", True), ("[/srv, /]", True)]
)
@pytest.mark.parametrize("value", ["-foo", 'json:{"filename": "\\u002fetc"}'])
def test_arguments_of_qemu_are_refused_where_paths_are_limited(
    paths: str,
    is_fine: bool,  # noqa: FBT001
    value: str,
    good: str,
    problems_of: Callable[[str], list[str]],
) -> None:
    fragment = f"<qemu:commandline><qemu:arg value='{value}'/></qemu:commandline>"
    text = good.replace("memory: 1GiB", f"domain_xml: |\n      {fragment}")

    problems = problems_of(text.replace("max_vms: 4", f"max_vms: 4\n  domain_xml_paths: {paths}"))

    assert bool(problems) != is_fine
    assert all("domain_xml: QEMU's own arguments can name paths" in each for each in problems)


@pytest.mark.parametrize(
    ("cell", "is_fine"),
    [
        ('memory="1048576"', True),
        ('memory="1" unit="GiB"', True),
        ('memory="64" unit="GiB"', False),
        ('memory="1" unit="EiB"', False),
        ('memory="-1"', False),
    ],
)
def test_numa_cells_have_the_memory_of_the_label(
    cell: str,
    is_fine: bool,  # noqa: FBT001
    good: str,
    problems_of: Callable[[str], list[str]],
) -> None:
    fragment = f'\'<cpu><numa><cell id="0" cpus="0" {cell}/></numa></cpu>\''
    text = good.replace("memory: 1GiB", f"memory: 1GiB\n    domain_xml: {fragment}")

    problems = problems_of(text)

    assert len(problems) == (not is_fine)
    assert all("domain_xml: the NUMA cells do not have the label's" in each for each in problems)


def test_a_network_card_in_a_comment_is_none() -> None:
    assert not domain_fragment.has_network_card("<devices><!-- <interface/> --></devices>")
    assert domain_fragment.has_network_card("<devices><interface type='user'/></devices>")


@given(st.text() | st.text(alphabet="<>/&;!?[]-='\"ab "))
def test_any_text_is_a_fragment_or_is_refused(text: str) -> None:
    try:
        domain_fragment.fragment(text)
    except PydanticCustomError:
        return
    assert domain_fragment.parse(text).tag == "domain"
