# SPDX-License-Identifier: GPL-2.0-only
"""Two real guests on one bridge, of which one lies about its MAC and its address."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import libvirt
import pytest

import bridged
import children
import tiny_guests
from bridged import ADDRESS, BRIDGE, BridgedHost
from buildmaster import DEADLINE, wait_for
from commands import COMMAND
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.domains.domain_xml import (
    DirectKernel,
    DomainSpec,
    Hardware,
    VmRecord,
    domain_xml,
)
from latent_libvirt.host.domains.vm_spec import Network
from latent_libvirt.host.libvirtd import opening
from latent_libvirt.host.networks.ports import fitting
from latent_libvirt.images.local import LocalImage
from specs import a_spec

HONEST = ("02:00:00:00:00:0a", "192.0.2.10")
LIAR = ("02:00:00:00:00:0b", "192.0.2.11")

BEGINNING = f"""
bb=/bin/busybox
until [ -e /sys/class/net/eth0 ]; do usleep 10000; done
be() {{
    $bb ip link set eth0 down; $bb ip address flush dev eth0
    $bb ip link set eth0 address $1; $bb ip address add $2/24 dev eth0; $bb ip link set eth0 up
}}
heard() {{ $bb ping -c 2 -W 2 {ADDRESS} >/dev/null 2>&1; }}
"""
HONEST_GUEST = f"""{BEGINNING}
be {HONEST[0]} {HONEST[1]}
until heard; do :; done
echo "I am there"
while :; do $bb sleep 60; done
"""
LYING_GUEST = f"""{BEGINNING}
be {LIAR[0]} {LIAR[1]}
until heard; do :; done
echo "I am there"
until [ -e /told ]; do heard; done &
read -r tries
echo >/told
wait
insists() {{
    left=$tries
    while [ $left -gt 0 ]; do heard && return; left=$((left - 1)); done
    false
}}
be {HONEST[0]} {HONEST[1]}
insists && echo "believed: MAC and address" || echo "not believed: MAC and address"
be {LIAR[0]} {HONEST[1]}
insists && echo "believed: address" || echo "not believed: address"
be {HONEST[0]} {LIAR[1]}
insists && echo "believed: MAC" || echo "not believed: MAC"
be {LIAR[0]} {LIAR[1]}
until heard; do :; done
echo "heard again"
echo "That is all"
while :; do $bb sleep 60; done
"""
ASKING_GUEST = f"""{BEGINNING}
printf '#!/bin/busybox sh\n[ "$1" = bound ] && echo $ip >/address\n' >/bound
$bb chmod +x /bound
$bb ip link set eth0 up
until [ -s /address ]; do $bb udhcpc -i eth0 -f -q -n -s /bound; done
be {HONEST[0]} $(cat /address)
until heard; do :; done
echo "I am there at $(cat /address)"
while :; do $bb sleep 60; done
"""
COUNTING_GUEST = f"""{BEGINNING}
be {HONEST[0]} {HONEST[1]}
count=0
while :; do
    heard && count=$((count + 1)) && echo "heard $count times"
done
"""


@pytest.fixture(scope="module")
def host() -> Iterator[BridgedHost]:
    """Give a hypervisor with a bridge and libvirt's filters."""
    with (
        tempfile.TemporaryDirectory(prefix="llb-", ignore_cleanup_errors=True) as directory,
        bridged.running(Path(directory, "h")) as running,
    ):
        yield running


@pytest.fixture
def connection(host: BridgedHost) -> Iterator[libvirt.virConnect]:
    connection = opening.within(DEADLINE, partial(libvirt.open, host.uri))
    yield connection
    for domain in connection.listAllDomains():
        domain.destroy()
    connection.close()


class Told:
    """A guest, and what it says on its console."""

    def __init__(self, connection: libvirt.virConnect, domain: libvirt.virDomain) -> None:
        self._text = ""
        self._stream = connection.newStream(0)
        domain.openConsole(None, self._stream, 0)

    def until(self, words: str) -> str:
        """Return what it has said so far, once *words* are among it."""
        while words not in self._text:
            data = opening.within(DEADLINE, partial(self._stream.recv, 4096))
            assert data, self._text
            self._text += data.decode(errors="replace")
        return self._text

    def go_on(self, tries: int) -> None:
        self._stream.send(f"{tries}\n".encode())


def start(
    connection: libvirt.virConnect,
    image: LocalImage,
    mac: str,
    *,
    filter_: str | None,
    network: dict[str, str] | None = None,
) -> Told:
    """Start the guest of *image* as a pool would.

    :param network: as a label has it; the bridge, if not given.
    """
    vm = a_spec(memory="128MiB", network=network or {"bridge": BRIDGE}, filter=filter_)
    port = fitting(connection, vm.network).port
    spec = DomainSpec(
        name=image.description.name,
        uuid=f"74315a47-2e50-45ee-86e8-0000000000{mac[-2:]}",
        record=VmRecord("0", "m", "p", mac[-2:], "l", "w", "i", "s"),
        hardware=Hardware("qemu", vm, mac, port=port),
        disk=None,
        boot=DirectKernel(
            str(image.path("kernel")), str(image.path("initrd")), "console=ttyS0 quiet"
        ),
    )
    domain = connection.createXML(domain_xml(spec), libvirt.VIR_DOMAIN_START_VALIDATE)
    return Told(connection, domain)


def lie(
    host: BridgedHost,
    connection: libvirt.virConnect,
    images: tuple[LocalImage, LocalImage],
    filter_: str | None,
) -> tuple[str, bool]:
    """Let one of two guests lie; return what it says, and whether the bridge fell for it."""
    honest, liar = images
    start(connection, honest, HONEST[0], filter_=filter_).until("I am there")
    own_port = host.ports_of(HONEST[0])
    told = start(connection, liar, LIAR[0], filter_=filter_)
    told.until("I am there")
    if filter_ is None:
        # libvirt learns it from what the guest sends, and sets up the filter then. It may begin to
        # listen after the guest was heard for the first time, so the guest goes on sending.
        wait_for("the filter", lambda: LIAR[1] in host.filters())
    # Whom nobody filters is heard sooner or later, however busy the machine is.
    told.go_on(tries=20 if filter_ else 1)
    said = told.until("That is all")
    return said, host.ports_of(HONEST[0]) != own_port


@pytest.fixture(scope="module")
def images(
    tmp_path_factory: pytest.TempPathFactory, image: LocalImage
) -> tuple[LocalImage, LocalImage]:
    directory = tmp_path_factory.mktemp("guests")
    scripts = {"honest": HONEST_GUEST, "liar": LYING_GUEST}
    return tuple(  # type: ignore[return-value]
        tiny_guests.make(directory / name, image, name, script) for name, script in scripts.items()
    )


def test_no_guest_can_pretend_to_be_another(
    host: BridgedHost, connection: libvirt.virConnect, images: tuple[LocalImage, LocalImage]
) -> None:
    said, fell_for_it = lie(host, connection, images, None)

    assert "not believed: MAC and address" in said
    assert "not believed: address" in said
    assert "not believed: MAC" in said
    assert "heard again" in said
    assert not fell_for_it


def test_a_label_that_wants_no_filter_gets_none_and_then_a_lie_is_believed(
    host: BridgedHost, connection: libvirt.virConnect, images: tuple[LocalImage, LocalImage]
) -> None:
    """Or else the test above would prove nothing."""
    said, fell_for_it = lie(host, connection, images, "none")

    assert "believed: MAC" in said.replace("not believed", "")
    assert fell_for_it


DHCP = """start 192.0.2.50
end 192.0.2.50
interface {bridge}
lease_file {directory}/leases
pidfile {directory}/pid
option subnet 255.255.255.0
"""


def test_a_guest_gets_an_address_by_dhcp_and_may_use_it(
    host: BridgedHost, connection: libvirt.virConnect, image: LocalImage, tmp_path: Path
) -> None:
    (tmp_path / "leases").touch()
    config = tmp_path / "udhcpd.conf"
    config.write_text(DHCP.format(bridge=BRIDGE, directory=tmp_path))
    asking = tiny_guests.make(tmp_path / "image", image, "asking", ASKING_GUEST)

    with subprocess.Popen(
        [*host.enter, *children.WITH_US, "busybox", "udhcpd", "-f", str(config)]
    ) as server:
        try:
            told = start(connection, asking, HONEST[0], filter_="clean-traffic")
            told.until("I am there at 192.0.2.50")
        finally:
            server.kill()


def test_a_guest_that_was_saved_is_heard_again_when_it_is_resumed(
    connection: libvirt.virConnect, image: LocalImage, tmp_path: Path
) -> None:
    counting = tiny_guests.make(tmp_path / "image", image, "counting", COUNTING_GUEST)
    told = start(connection, counting, HONEST[0], filter_="clean-traffic")
    told.until("heard 1 times")
    domain = connection.lookupByName("counting")

    domain.save(str(tmp_path / "saved"))
    connection.restoreFlags(str(tmp_path / "saved"), None, libvirt.VIR_DOMAIN_SAVE_RUNNING)

    again = Told(connection, connection.lookupByName("counting"))
    assert "filterref filter='clean-traffic'" in connection.lookupByName("counting").XMLDesc()
    # More than once: the filter is set up once the guest has been heard.
    again.until("times")
    again.until("times\r\nheard")


UPLINK = """<network><name>uplink</name>
<forward mode='bridge'><interface dev='uplink'/></forward></network>"""
NO_DEVICE = "macvtap|/dev/tap"


@pytest.fixture
def uplink(host: BridgedHost, connection: libvirt.virConnect) -> Iterator[None]:
    """Give a network by macvtap, on a card that leads to the bridge."""
    host.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "port")
    host.run("ip", "link", "set", "port", "master", BRIDGE, "up")
    host.run("ip", "link", "set", "uplink", "up")
    network = connection.networkCreateXML(UPLINK)
    yield
    network.destroy()
    host.run("ip", "link", "delete", "uplink")


@pytest.mark.usefixtures("uplink")
def test_a_vm_starts_where_ports_can_be_neither_isolated_nor_filtered(
    connection: libvirt.virConnect, images: tuple[LocalImage, LocalImage]
) -> None:
    """A port that asks for what its network does not have is refused by libvirt.

    That comes before the device of macvtap is opened, which not every namespace has. A switch of
    Open vSwitch, which lacks the same, is not tried: not every kernel has it.
    """
    refused = ""
    try:
        told = start(connection, images[0], HONEST[0], filter_=None, network={"network": "uplink"})
    except libvirt.libvirtError as error:
        refused = str(error)
    if refused:
        assert re.search(NO_DEVICE, refused)
        return
    told.until("I am there")
    xml = connection.lookupByName("honest").XMLDesc()
    assert "<source network='uplink'" in xml
    assert "isolated" not in xml
    assert "filterref" not in xml


SLOW = """<network><name>slow</name><bridge name='slow0' stp='on' delay='0'/>
<dns enable='no'/></network>"""
DIRECT = """<network><name>direct</name>
<forward mode='bridge'><interface dev='lo'/></forward></network>"""

POOL = """
master: {{max_vms: 1}}
hosts:
  here: {{uri: "{uri}", slots: 1, storage_pool: builds}}
defaults: {{labels: {{connection: tcp}}}}
labels:
  bridged: {{image: debian-12, network: {{bridge: br0}}, address: 192.0.2.1}}
  slow: {{image: debian-12, network: {{network: slow}}, address: 192.0.2.1}}
  direct: {{image: debian-12, network: {{network: direct}}, address: 192.0.2.1}}
  refused: {{image: debian-12, network: {{network: direct}}, filter: mine, address: 192.0.2.1}}
  plain: {{image: debian-12}}
"""


@pytest.fixture
def networks(connection: libvirt.virConnect, tmp_path: Path) -> Iterator[None]:
    """Give the host networks of other kinds, and a storage pool."""
    made = [connection.networkDefineXML(xml) for xml in (SLOW, DIRECT)]
    for network in made:
        network.create()
    pool = connection.storagePoolCreateXML(
        f"<pool type='dir'><name>builds</name><target><path>{tmp_path}</path></target></pool>"
    )
    yield
    pool.destroy()
    for network in made:
        network.destroy()
        network.undefine()


def networks_told(host: BridgedHost, directory: Path, port: str) -> dict[str, list[str]]:
    """Return what ``doctor`` says of each label's network if *port* is that for workers."""
    (directory / "pool.yaml").write_text(POOL.format(uri=host.uri))
    (directory / "master.cfg").write_text(
        f'c = {{}}\nc["protocols"] = {{"pb": {{"port": "{port}"}}}}\n'
    )
    done = subprocess.run(
        [COMMAND, "doctor", "--no-vm", "--json"],
        cwd=directory,
        env=os.environ | {"XDG_STATE_HOME": str(directory / "state")},
        stdout=subprocess.PIPE,
        timeout=DEADLINE,
        check=False,
    )
    told = defaultdict(list)
    for finding in json.loads(done.stdout)["findings"]:
        told[finding["check"].removeprefix("network of ")].append(
            f"{finding['brief']} {finding['resolution']}"
        )
    return told


PLAIN = "without TLS, over more than its own host"


@pytest.mark.usefixtures("networks")
def test_doctor_tells_what_each_network_lacks_and_which_guests_do_not_reach_the_listener(
    host: BridgedHost, tmp_path: Path
) -> None:
    told = networks_told(host, tmp_path, "tcp:9989:interface=127.0.0.1")

    assert "isolated ports, filter clean-traffic" in told["bridged"][0]
    for label in ("bridged", "slow", "direct"):
        listens = next(text for text in told[label] if "listens at 127.0.0.1 only" in text)
        assert f"guests of {label}" in listens
        assert "Change line 2 of master.cfg" in listens
    assert any("nothing for 4 s" in text and "net-edit" in text for text in told["slow"])
    assert not any("nothing for" in text for text in told["bridged"])
    assert sum("macvtap" in text for text in told["direct"]) == 2
    assert "cannot have the filter 'mine'" in told["refused"][0]
    assert len(told["plain"]) == 1
    plain = {label for label, texts in told.items() if any(PLAIN in text for text in texts)}
    assert plain == {"bridged", "direct"}
    assert any("'ssl:9989:privateKey=...:certKey=...'" in text for text in told["bridged"])


@pytest.mark.usefixtures("networks")
def test_doctor_warns_of_no_network_that_carries_tls(host: BridgedHost, tmp_path: Path) -> None:
    told = networks_told(host, tmp_path, "ssl:9989:privateKey=key.pem:certKey=chain.pem")

    assert "guests look for the master at 192.0.2.1" in told["bridged"][0]
    assert not any(PLAIN in text for texts in told.values() for text in texts)


def test_a_filter_that_is_not_there_is_told_by_its_name(connection: libvirt.virConnect) -> None:
    with pytest.raises(ConfigurationError, match="'no-such-filter'"):
        fitting(connection, Network("bridge", BRIDGE, "no-such-filter"))

    found = fitting(connection, Network("bridge", BRIDGE, "no-mac-spoofing"))
    assert (found.port.filter, found.lacks) == ("no-mac-spoofing", ())
