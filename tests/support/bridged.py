# SPDX-License-Identifier: GPL-2.0-only
"""A system libvirtd with a bridge of Linux and libvirt's filters, in namespaces of its own.

What ``PrivateLibvirtd`` runs has no privilege, and so neither bridges nor filters. This one is root
in a network, mount and PID namespace (and in a user namespace, where the tests are not root): the
machine's own network, libvirt and files are not touched, and all of it ends with its process 1.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from latent_libvirt.images.programs import program

BRIDGE = "br0"
ADDRESS = "192.0.2.1"
"""The host's own on the bridge (RFC 5737)."""

_SETUP = """
set -eu
export PATH="$PATH:/usr/sbin:/sbin"
cd "$1"
mkdir run etc lib cache log
cp -r /etc/libvirt etc/libvirt
cp /etc/passwd /etc/group etc/
# libvirt insists on the user and groups of the Debian package that would start it as a service.
echo 'libvirt-qemu:x:0:0::/:/bin/false' >>etc/passwd
printf 'libvirt-qemu:x:0:\\nkvm:x:0:\\n' >>etc/group
cat >etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
stdio_handler = "file"
namespaces = []
cgroup_controllers = []
END
cat >etc/libvirt/libvirtd.conf <<END
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
END
mkdir run/lock
mount --bind etc/libvirt /etc/libvirt
mount --bind etc/passwd /etc/passwd
mount --bind etc/group /etc/group
mount --bind run /run
for part in lib cache log; do
    mkdir -p "/var/$part/libvirt"
    mount --bind "$part" "/var/$part/libvirt"
done
mount -t sysfs sysfs /sys
ip link set lo up
ip link add "$2" type bridge stp_state 0 forward_delay 0
ip address add "$3/24" dev "$2"
ip link set "$2" up
libvirtd >libvirtd.log 2>&1 &
until [ -S run/libvirt/libvirt-sock ]; do
    kill -0 $! || { cat libvirtd.log; exit 1; }
    sleep 0.05
done
echo ready
# As process 1, bash reaps what QEMU leaves: libvirt waits for zombies when it destroys a domain.
while read -r _; do :; done
"""


@dataclass(frozen=True)
class BridgedHost:
    """A hypervisor with a bridge.

    :param enter: what to put before a command so that it runs in its network.
    """

    uri: str
    enter: tuple[str, ...]

    def run(self, *command: str) -> str:
        """Run a command in its network; return what it prints."""
        done = subprocess.run([*self.enter, *command], check=True, capture_output=True, text=True)
        return done.stdout

    def filters(self) -> str:
        """Return the rules for frames; nothing if there are none.

        Not by ``ebtables -L``. Debian 12's (1.8.9, nf_tables) deletes and adds rules while it lists
        them. Rules that libvirt sets meanwhile fail, and a guest stays without its network.
        """
        command = [*self.enter, "nft", "list", "table", "bridge", "nat"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    def ports_of(self, mac: str) -> set[str]:
        """Return the ports at which the bridge has last seen a guest's MAC address."""
        lines = self.run("bridge", "fdb", "show", "br", BRIDGE).splitlines()
        return {line.split()[2] for line in lines if line.startswith(mac)}


@contextmanager
def running(directory: Path) -> Iterator[BridgedHost]:
    """Run a hypervisor for the length of a ``with`` block.

    :param directory: does not exist yet; of a short path, for the sockets of QEMU.
    """
    directory.mkdir(parents=True)
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
    spaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    for name, package in (("ebtables", "iptables"), ("nft", "nftables"), ("ip", "iproute2")):
        program(name, package=package)
    with subprocess.Popen(
        [
            *(program("unshare", package="util-linux"), *user, *spaces),
            *("bash", "-c", _SETUP, "bash", str(directory), BRIDGE, ADDRESS),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as holder:
        assert holder.stdout is not None
        said = holder.stdout.readline()
        assert said == "ready\n", said + holder.stdout.read()
        own = ("--user", "--preserve-credentials") if user else ()
        enter = ("nsenter", f"--target={_child(holder.pid)}", "--net", *own)
        socket = directory / "run/libvirt/libvirt-sock"
        try:
            yield BridgedHost(f"qemu+unix:///system?socket={socket}", enter)
        finally:
            holder.kill()


def _child(pid: int) -> str:
    """Return the process 1 of the namespaces that the process *pid* has made."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
