# SPDX-License-Identifier: GPL-2.0-only
"""Peers from Debian that boot a VM for a command: autopkgtest-virt-qemu and debvm.

Both boot the same Debian, which is that of ``debian-stock`` with Debian's usual kernel: the one for
clouds has no 9p, which autopkgtest needs. Each gets what its manual says that an image needs.
Machine, accelerator, memory and vCPUs are those of the other rivals' VMs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import buildmaster
from fixture import CACHE
from latent_libvirt.images.build import build
from latent_libvirt.images.local import LocalImage
from latent_libvirt.images.programs import program, run
from latent_libvirt.images.recipes import Recipe
from remains import Remains, processes, vms
from rivals import Bench, ProgramSession

STOCK = Path(__file__).with_name("debian-stock")
MEMORY = 512
MACHINE = ("-machine", "q35,accel=tcg", "-cpu", "qemu64")
"""As libvirt asks for. The programs would choose KVM by the file that belongs to it."""
BOOT_TIMEOUT = 600
OPEN_TRIES = 3
"""How often autopkgtest may try to boot a VM. Its login on the serial port fails now and then."""
COMMAND_LINE = "root=LABEL=debvm rw console=ttyS0 quiet net.ifnames=0 no_timer_check"

_FIRST_PARTITION = 1024**2
_SETUP = Path("/usr/share/autopkgtest/setup-commands/setup-testbed")
_SHELL = "autopkgtest@.service"
_UNITS = "/etc/systemd/system"
_COMMON = f"""\
cd {_UNITS}
rm bench-worker.service
symlink bench-worker.service /dev/null
"""
_FOR_AUTOPKGTEST = f"""\
write {{unit}} {_SHELL}
cd multi-user.target.wants
symlink autopkgtest@ttyS1.service ../{_SHELL}
symlink autopkgtest@hvc1.service ../{_SHELL}
"""
_FOR_DEBVM = """\
cd /etc
rm fstab
write {fstab} fstab
cd /root
mkdir .ssh
cd .ssh
write {key} authorized_keys
"""


def peer_image(directory: Path) -> LocalImage:
    """Return the image of both, built unless the cache has it.

    :param directory: receives its recipe.
    """
    directory.mkdir()
    recipe = shutil.copytree(STOCK, directory / "debian-peer")
    settings = recipe / "recipe.toml"
    text = settings.read_text()
    settings.write_text(text.replace("linux-image-cloud-amd64", "linux-image-amd64"))
    return build(Recipe(recipe), CACHE / "images")


def _change(disk: Path, commands: str, *, offset: int = 0) -> None:
    """Let debugfs do *commands* in the file system at *offset* of a raw disk."""
    script = disk.with_suffix(".commands")
    script.write_text(commands)
    debugfs = program("debugfs", package="e2fsprogs")
    run([debugfs, "-w", "-f", str(script), f"{disk}?offset={offset}" if offset else str(disk)])


def _raw(image: LocalImage, target: Path, *, offset: int = 0) -> None:
    """Make *target* of what follows *offset* on the image's disk."""
    qemu_img = program("qemu-img", package="qemu-utils")
    disk = f"driver=raw,offset={offset},file.driver=qcow2,file.file.filename={image.path('disk')}"
    run([qemu_img, "convert", "--image-opts", disk, "-O", "raw", str(target)])


def shell_unit(script: str) -> str:
    """Return the unit of autopkgtest's root shell, from the script that installs it."""
    begin = script.index("[Unit]\nDescription=autopkgtest root shell")
    return script[begin : script.index("EOF\n", begin)]


class Peer(Protocol):
    """How a program runs a job in a VM."""

    def __init__(self, bench: Bench, directory: Path, image: LocalImage) -> None: ...

    def run(self, temporary: Path, programs: list[subprocess.Popen[str]]) -> None:
        """Run one job to its end.

        :param temporary: a directory for the program's temporary files.
        :param programs: receives what a user would have started.
        """


class Debvm:
    """debvm-run with a disk that forgets, debvm-waitssh, and the job through ssh."""

    def __init__(self, bench: Bench, directory: Path, image: LocalImage) -> None:
        self._job = bench.gate.job()
        self._key = directory / "key"
        self._disk = directory / "debvm.ext4"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)])
        fstab = directory / "fstab"
        fstab.write_text("LABEL=debvm / ext4 errors=remount-ro 0 1\n")
        _raw(image, self._disk, offset=_FIRST_PARTITION)
        run([program("e2label", package="e2fsprogs"), str(self._disk), "debvm"])
        public = self._key.with_suffix(".pub")
        _change(self._disk, _COMMON + _FOR_DEBVM.format(fstab=fstab, key=public))

    def run(self, temporary: Path, programs: list[subprocess.Popen[str]]) -> None:
        """Run one job to its end."""
        port = str(buildmaster.free_port())
        vm = _started(self._vm(port), temporary, listens=False)
        programs.append(vm)
        wait = ["debvm-waitssh", "-q", "-t", str(BOOT_TIMEOUT), port]
        for command in (wait, self._ssh(port)):
            programs.append(_started(command, temporary))
            _end_well(programs[-1])
        os.killpg(vm.pid, signal.SIGTERM)
        vm.wait()

    def _vm(self, port: str) -> list[str]:
        limits = ["-m", str(MEMORY), "-smp", "1", "-snapshot", "-append", COMMAND_LINE]
        return ["debvm-run", f"--image={self._disk}", f"--sshport={port}", "--", *MACHINE, *limits]

    def _ssh(self, port: str) -> list[str]:
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes")
        words = ["-i", str(self._key), "-p", port, *(f"-o{option}" for option in options)]
        return ["ssh", *words, "root@127.0.0.1", f"bash -c {shlex.quote(self._job)}"]


class Autopkgtest:
    """autopkgtest-virt-qemu, spoken to as autopkgtest does."""

    def __init__(self, bench: Bench, directory: Path, image: LocalImage) -> None:
        self._job = bench.gate.job()
        self._disk = directory / "autopkgtest.qcow2"
        self._opening = threading.Lock()
        unit = directory / _SHELL
        unit.write_text(shell_unit(_SETUP.read_text()))
        raw = directory / "autopkgtest.raw"
        _raw(image, raw)
        _change(raw, _COMMON + _FOR_AUTOPKGTEST.format(unit=unit), offset=_FIRST_PARTITION)
        qemu_img = program("qemu-img", package="qemu-utils")
        run([qemu_img, "convert", "-f", "raw", "-O", "qcow2", str(raw), str(self._disk)])
        raw.unlink()

    def run(self, temporary: Path, programs: list[subprocess.Popen[str]]) -> None:
        """Run one job to its end."""
        server = self._opened(temporary, programs)
        (words,) = _ask(server, "print-execute-command")
        execute = [*words.split(","), "bash", "-c", self._job]
        job = _started(execute, temporary)
        programs.append(job)
        _end_well(job)
        assert server.stdin is not None
        server.stdin.write("quit\n")
        server.stdin.close()
        server.wait()

    def _opened(
        self, temporary: Path, programs: list[subprocess.Popen[str]]
    ) -> subprocess.Popen[str]:
        """Return a server whose VM has booted; one that failed is tried again, as a user would."""
        for attempt in range(1, OPEN_TRIES + 1):
            server = _started(self._server(temporary), temporary)
            programs.append(server)
            try:
                _answer(server)
                self._open(server, temporary)
            except RuntimeError:
                _end(server)
                if attempt == OPEN_TRIES:
                    raise
            else:
                break
        return server

    def _open(self, server: subprocess.Popen[str], temporary: Path) -> None:
        """Boot a VM. The server looks for a free port, which another one must not find as well."""
        with self._opening:
            _say(server, "open")
            while server.poll() is None and not vms(temporary):
                time.sleep(0.1)
        _answer(server)

    def _server(self, temporary: Path) -> list[str]:
        size = [f"--ram-size={MEMORY}", "--cpus=1", f"--timeout-reboot={BOOT_TIMEOUT}"]
        options = f"--qemu-options={' '.join(MACHINE)}"
        return [
            *("autopkgtest-virt-qemu", f"--overlay-dir={temporary}", *size, options),
            str(self._disk),
        ]


def _started(command: list[str], temporary: Path, *, listens: bool = True) -> subprocess.Popen[str]:
    """Start a program whose messages go to a file.

    :param listens: somebody speaks to it; otherwise the file receives all that it prints.
    """
    with (temporary / "messages").open("a") as messages:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
            stdout=subprocess.PIPE if listens else messages,
            stderr=messages,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
            start_new_session=True,
        )


def _end(server: subprocess.Popen[str]) -> None:
    """End a server, which ends its VM."""
    assert server.stdin is not None
    with suppress(BrokenPipeError):
        server.stdin.close()
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    server.wait()


def _end_well(job: subprocess.Popen[str]) -> None:
    job.communicate()
    if job.returncode != 0:
        raise RuntimeError(f"a job ended with status {job.returncode}")


def _ask(server: subprocess.Popen[str], command: str) -> list[str]:
    _say(server, command)
    return _answer(server)


def _say(server: subprocess.Popen[str], command: str) -> None:
    assert server.stdin is not None
    server.stdin.write(f"{command}\n")
    server.stdin.flush()


def _answer(server: subprocess.Popen[str]) -> list[str]:
    """Return the words after ``ok``."""
    assert server.stdout is not None
    first, *words = server.stdout.readline().split() or ["nothing"]
    if first != "ok":
        raise RuntimeError(f"autopkgtest-virt-qemu answered {first}")
    return words


class Programs:
    """A peer's programs, with a directory of temporary files for each job."""

    def __init__(self, directory: Path, peer: Peer) -> None:
        self._directory = directory / "temporary"
        self._directory.mkdir()
        self._peer = peer
        self._running: list[subprocess.Popen[str]] = []

    def files(self) -> list[Path]:
        """Return the temporary files that there are, but our own record of messages."""
        there = self._directory.rglob("*")
        return [f for f in there if not f.is_dir() and f.name != "messages"]

    def run(self) -> None:
        """Run one job to its end."""
        self._peer.run(Path(tempfile.mkdtemp(dir=self._directory)), self._running)

    def kill(self) -> None:
        """Kill what a user would have started; what that has started is left alone."""
        for started in self._running:
            with suppress(ProcessLookupError):
                started.kill()
                started.wait()


@contextmanager
def session(bench: Bench, kind: type[Peer], image: LocalImage) -> Iterator[ProgramSession]:
    """Give a peer, whose image is made beforehand."""
    directory = bench.directory / f"{kind.__name__.lower()}-vms"
    directory.mkdir()
    programs = Programs(directory, kind(bench, directory, image))
    session = ProgramSession(bench, programs.files, run=programs.run, kill=programs.kill)
    try:
        yield session
    finally:
        Remains(frozenset(processes(directory))).remove()
        session.kill()
