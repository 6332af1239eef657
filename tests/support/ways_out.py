# SPDX-License-Identifier: GPL-2.0-only
"""A program for guests without a network card: as root, it tries ways out, and says which led out.

It prints a line ``ways out`` with a mapping in JSON: what each way has led to, or an empty text.
QEMU's user-mode network would lead 10.0.2.2 to the loopback of the host, where a server of the test
listens. So the first ways succeed in a guest that has one. No way would lead further than QEMU
and the host with its resolver, not even then.
"""

from __future__ import annotations

PROGRAM = r"""
import glob, json, os, select, socket, struct, subprocess, sys

PORT = int(sys.argv[1])
TIMEOUT = 2.0
QUERY = struct.pack(">HHHHHH", 1, 0x100, 1, 0, 0, 0) + b"\x09localhost\x00\x00\x01\x00\x01"
PING = b"\x08\x00\xf7\xfd\x00\x01\x00\x01"
found = {}


def way(function):
    try:
        found[function.__name__] = str(function() or "")
    except OSError as error:
        found[function.__name__] = ""


def ask(family, kind, proto, address, data, *, broadcast=False):
    with socket.socket(family, kind, proto) as there:
        there.settimeout(TIMEOUT)
        if broadcast:
            there.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if kind == socket.SOCK_STREAM:
            there.connect(address)
            there.sendall(data)
        else:
            there.sendto(data, address)
        return there.recv(100)


def names(pattern):
    return [open(path).read().strip() for path in glob.glob(pattern)]


def cards():
    return [name for name in os.listdir("/sys/class/net") if name != "lo"]


GET = b"GET /file HTTP/1.0\r\n\r\n"
TCP, UDP, RAW = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
V4, V6 = socket.AF_INET, socket.AF_INET6


@way
def the_host_as_qemus_gateway(): return ask(V4, TCP, 0, ("10.0.2.2", PORT), GET)
@way
def the_host_as_qemus_gateway_in_ipv6(): return ask(V6, TCP, 0, ("fec0::2", PORT), GET)
@way
def dns_of_qemu(): return ask(V4, UDP, 0, ("10.0.2.3", 53), QUERY)
@way
def dns_of_qemu_in_ipv6(): return ask(V6, UDP, 0, ("fec0::3", 53), QUERY)
@way
def tftp_of_qemu(): return ask(V4, UDP, 0, ("10.0.2.2", 69), b"\x00\x01file\x00octet\x00")
@way
def files_of_qemu(): return ask(V4, TCP, 0, ("10.0.2.4", 445), b"\x00")
@way
def ping(): return ask(V4, RAW, socket.IPPROTO_ICMP, ("10.0.2.2", 0), PING)
@way
def ping_in_ipv6(): return ask(V6, RAW, socket.IPPROTO_ICMPV6, ("ff02::1", 0), PING)
@way
def dhcp():
    return ask(V4, UDP, 0, ("255.255.255.255", 67), b"\x01" * 300, broadcast=True)
@way
def broadcast(): return ask(V4, UDP, 0, ("10.0.2.255", PORT), GET, broadcast=True)
@way
def vsock_to_the_host():
    with socket.socket(socket.AF_VSOCK, TCP) as there:
        there.settimeout(TIMEOUT)
        there.connect((2, PORT))
        return "connected"
@way
def frames_on_any_card():
    for card in cards():
        with socket.socket(socket.AF_PACKET, RAW) as there:
            there.bind((card, 0))
            there.send(b"\xff" * 60)
            return card
@way
def drivers_and_a_new_look_at_pci():
    for driver in ("virtio_net", "e1000", "e1000e", "8139cp", "ne2k_pci", "pcnet32"):
        subprocess.run(["/sbin/modprobe", driver], capture_output=True)
    with open("/sys/bus/pci/rescan", "w") as rescan:
        rescan.write("1")
    return cards()
@way
def a_route_over_a_card_of_no_hardware():
    for command in (
        "link add out type dummy",
        "addr add 10.0.2.15/24 dev out",
        "link set out up",
        "route add default via 10.0.2.2",
    ):
        subprocess.run(["/sbin/ip", *command.split()], capture_output=True)
    try:
        return ask(V4, TCP, 0, ("10.0.2.2", PORT), GET)
    finally:
        subprocess.run(["/sbin/ip", "link", "del", "out"], capture_output=True)
@way
def cards_on_pci():
    return [each for each in names("/sys/bus/pci/devices/*/class") if each[2:4] == "02"]
@way
def devices_on_usb(): return os.listdir("/sys/bus/usb/devices")
@way
def other_devices_of_virtio():
    known = {"0x0002": "block", "0x0003": "console", "0x0004": "rng"}
    return [each for each in names("/sys/bus/virtio/devices/*/device") if each not in known]
@way
def other_ports_of_virtio():
    ours = ["0", "worker.0", "network.0"]
    known = {"org.latent_libvirt." + name for name in ours}
    return [each for each in names("/sys/class/virtio-ports/*/name") if each not in known]
@way
def the_channel_of_the_handshake():
    (port,) = [
        path.split("/")[-2]
        for path in glob.glob("/sys/class/virtio-ports/*/name")
        if open(path).read().strip() == "org.latent_libvirt.0"
    ]
    with open("/dev/" + port, "r+b", buffering=0) as channel:
        os.set_blocking(channel.fileno(), False)
        channel.write(b'{"type": "waiting", "protocol": 1}\n')
        select.select([channel], [], [], TIMEOUT)
        return channel.read(100)
@way
def directories_of_the_host():
    for kind in ("9p", "virtiofs"):
        for tag in ("share", "host", "mount"):
            done = subprocess.run(["mount", "-t", kind, tag, "/mnt"], capture_output=True)
            if done.returncode == 0:
                return kind


print("ways out " + json.dumps(found))
"""
