# SPDX-License-Identifier: GPL-2.0-only
"""The demo: from an empty machine to a green build in a clean VM, and proof that the next is clean.

``make demo`` runs this in the clone's ``.venv``. It needs no privilege beyond those for installing
packages, touches no libvirt and no Buildbot that the machine may run, listens on 127.0.0.1 alone,
and leaves nothing but caches in the clone's ``.cache``.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final, NoReturn

import click
import libvirt

from demo_end import Ending, kill_what_is_left, run_to_end
from demo_master import (
    BUILDBOT,
    HERE,
    LATENT_LIBVIRT,
    STOP_DEADLINE,
    SUCCESS,
    USER,
    Build,
    DemoError,
    Master,
)
from demo_output import chapter, console, time_table
from latent_libvirt.config.schema import modeline, schema_text
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.slot_domains import vm_record
from latent_libvirt.host.kvm.accelerator import has_kvm
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.sandbox import PrivateLibvirtd
from latent_libvirt.sandbox.directory_lock import locked
from latent_libvirt.sandbox.private import STOP_DEADLINE as LIBVIRTD_STOP_DEADLINE
from latent_libvirt.sandbox.private import directory_of_sockets

CLONE: Final = HERE.parents[1]
CACHE: Final = CLONE / ".cache"
PACKAGES: Final = CACHE / "packages"
IMAGES: Final = CACHE / "images"
IMAGE: Final = "debian-12"
WORK_PREFIX: Final = "demo-"
STORAGE_POOL: Final = "default"
KEPT_VOLUMES: Final = ("latent-libvirt.image.", "latent-libvirt.saved.")

BUILDERS: Final = {
    "package": "build a published package from its source, and run its tests",
    "clean": "look for anything that the first build left behind, in a VM without a network",
}


@click.command(help=__doc__)
@click.option("--keep", is_flag=True, help="Keep the master and its web UI until Ctrl-C.")
def main(*, keep: bool) -> None:
    """Run the demo and end with its exit status."""
    ending = Ending(STOP_DEADLINE + LIBVIRTD_STOP_DEADLINE)
    ending.listen()
    try:
        demo(ending, keep=keep)
    except KeyboardInterrupt:
        end_on_request(WORK_PREFIX)
    except (DemoError, LatentLibvirtError, libvirt.libvirtError) as error:
        console.print("The demo failed:", style="red")
        console.print(str(error), markup=False)
        sys.exit(1)


def end_on_request(prefix: str) -> NoReturn:
    """Look for what is left, say what that is, and end with the status of Ctrl-C.

    :param prefix: of working directories.
    """
    left = [*kill_what_is_left(), *(str(directory) for directory in abandoned(prefix))]
    if left:
        console.print(f"ended on request; this is left: {', '.join(left)}", style="red")
    else:
        console.print("[yellow]ended on request; nothing is left behind[/yellow]")
    sys.exit(130)


def demo(ending: Ending, *, keep: bool) -> None:
    """Do all of it: image, hypervisor, master, two builds, and the proofs."""
    directory_of_sockets()  # what it refuses is to be seen before the long work
    with working_directory(WORK_PREFIX) as work:
        bring_packages(work / "master/packages")
        bring_image()
        with hypervisor(work / "libvirtd") as sandbox:
            publish_image(sandbox)
            write_pool(work / "master/pool.yaml", sandbox)
            warn_without_kvm(sandbox)
            with started(Master(work / "master"), ending) as master:
                run_builds(master)
                if keep:
                    wait_for_the_user(master)
            check_nothing_is_left(sandbox, may_keep=keep)
    console.print("[green]Both builds succeeded, each in a clean VM; nothing is left.[/green]")


@contextmanager
def working_directory(prefix: str) -> Iterator[Path]:
    """Give a directory in the clone's cache that is removed at the end, whatever happens."""
    CACHE.mkdir(exist_ok=True)
    remove_abandoned(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=CACHE) as name:
        work = Path(name)
        with locked(work):
            (work / "master").mkdir()
            try:
                yield work
            finally:
                kill_what_is_left()  # such a process could write into the directory


def remove_abandoned(prefix: str) -> None:
    """Remove the directories of runs that were killed."""
    for left in abandoned(prefix):
        shutil.rmtree(left)


def abandoned(prefix: str) -> Iterator[Path]:
    """Yield the directories of runs that have ended: no process holds their lock."""
    for left in CACHE.glob(f"{prefix}*"):
        with suppress(BlockingIOError, FileNotFoundError), locked(left):
            yield left


def bring_packages(destination: Path) -> None:
    """Download the package that is built and what builds it, once; give the master a copy."""
    wanted = HERE / "packages.txt"
    have = PACKAGES / "packages.txt"
    if not have.exists() or have.read_bytes() != wanted.read_bytes():
        with chapter("Download the package to build"):
            download(wanted)
        shutil.copy(wanted, have)
    shutil.copytree(PACKAGES, destination)


def download(wanted: Path) -> None:
    """Download the source of the package, and the others ready to use, checked by their hashes."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    choice = ["--no-binary", "typing_extensions", "--only-binary", "pip,flit_core"]
    run([*pip, *choice, "--dest", str(PACKAGES), "--requirement", str(wanted)])


def bring_image() -> None:
    """Build the base image, unless the cache has it."""
    console.print(f"Base image {IMAGE}, from Debian's packages; built once, then cached:")
    run([*cli(), "image", "build", IMAGE, "--output", str(IMAGES)], show=True)


@contextmanager
def hypervisor(directory: Path) -> Iterator[PrivateLibvirtd]:
    """Run a libvirtd of the demo's own, with a storage pool."""
    sandbox = PrivateLibvirtd(directory, capability_cache=CACHE / "libvirt")
    with chapter("Start a private libvirtd"):
        sandbox.start()
    try:
        sandbox.define_storage_pool(STORAGE_POOL)
        yield sandbox
    finally:
        sandbox.stop()


def publish_image(sandbox: PrivateLibvirtd) -> None:
    """Publish the image to the storage pool."""
    where = ["--uri", sandbox.uri, "--pool", STORAGE_POOL]
    run([*cli(), "image", "publish", IMAGE, "--output", str(IMAGES), *where], show=True)


def write_pool(path: Path, sandbox: PrivateLibvirtd) -> None:
    """Write pool.yaml with the hypervisor of this run, and the schema that it names for editors."""
    _modeline, _, text = (HERE / "pool.yaml").read_text().partition("\n")
    schema = path.with_suffix(".schema.json")
    schema.write_text(schema_text())
    path.write_text(f"{modeline(schema.name)}\n{text.replace('qemu:///system', sandbox.uri, 1)}")


@contextmanager
def started(master: Master, ending: Ending) -> Iterator[Master]:
    """Run a master; show its start and its end, for they take a moment."""
    try:
        # All of it is inside: Ctrl-C may come between any two lines, and the master is to end.
        with chapter("Start a Buildbot master"):
            master.__enter__()
        console.print(
            f"  its web UI: {master.url} (user {USER}, password {master.password})", soft_wrap=True
        )
        yield master
    finally:
        ending.begin()
        with chapter("Stop the master and its VMs"):
            master.stop()


def warn_without_kvm(sandbox: PrivateLibvirtd) -> None:
    """Warn if libvirt finds no KVM."""
    connection = libvirt.open(sandbox.uri)
    try:
        found = has_kvm(connection)
    finally:
        connection.close()
    if not found:
        warn_of_emulation()


@cache
def warn_of_emulation() -> None:
    """Warn that VMs are slow; a second call does nothing."""
    console.print("[yellow]![/yellow] KVM does not work here: emulated VMs are ten times slower")


def run_builds(master: Master) -> None:
    """Run both builds; show where the time went; check what they claim."""
    builds = {builder: run_build(master, builder) for builder in BUILDERS}
    check_wheel(master)
    check_machines_differ(master, *builds.values())
    time_table({builder: master.phases(build) for builder, build in builds.items()})


def run_build(master: Master, builder: str) -> Build:
    """Run one build to its end, and tell what it does in the meantime.

    :raises DemoError: it did not succeed.
    """
    latest = None
    with chapter(f"Build {builder!r}", BUILDERS[builder]) as show:
        for build in master.build(builder):
            if latest is None or latest.url != build.url:
                console.print(f"  {build.url}")
            latest = build
            show(build.doing)
            if master.runs_emulated():
                warn_of_emulation()
        if latest is None or latest.result != SUCCESS:
            raise DemoError("\n".join(["it did not succeed:", *failures(master, latest)]))
    return latest


def failures(master: Master, build: Build | None) -> Iterator[str]:
    """Give what there is to know about a build that failed."""
    if build is None:
        yield "it never started"
    else:
        yield from master.failures(build)


def check_wheel(master: Master) -> None:
    """See that the wheel that the first build uploaded is whole, and is what was built."""
    (wheel,) = (master.directory / "artefacts").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        if archive.testzip() is not None or "typing_extensions.py" not in archive.namelist():
            raise DemoError(f"{wheel.name} is damaged")
    console.print(f"[green]✓[/green] {wheel.name} arrived, {wheel.stat().st_size} bytes")


def check_machines_differ(master: Master, first: Build, second: Build) -> None:
    """See that the two builds ran in two machines, though both may have been resumed."""
    machines = [master.build_property(build, "machine_id") for build in (first, second)]
    if None in machines or machines[0] == machines[1]:
        raise DemoError(f"the builds did not each have a VM of their own: {machines}")
    console.print("[green]✓[/green] the second build found no trace in its VM without a network")


def wait_for_the_user(master: Master) -> None:
    """Wait for Ctrl-C."""
    console.print(f"[bold]{master.url}[/bold] stays until you press Ctrl-C.")
    for line in hints(master):
        console.print(f"  {line}", soft_wrap=True, markup=False)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print()


def hints(master: Master) -> Iterator[str]:
    """Yield what there is to try, and the commands for it."""
    yield f"the page of its VMs: {master.url}#/vms"
    yield f"its base directory: {master.directory}"
    yield f"  cd {shlex.quote(str(master.directory))}"
    yield f"  {shlex.quote(LATENT_LIBVIRT)} status    # and all other commands of the documentation"
    yield f"  {shlex.quote(BUILDBOT)} reconfig .    # after a change of master.cfg"
    yield "A change of pool.yaml is applied when it is saved. Ctrl-C deletes the directory."


def check_nothing_is_left(sandbox: PrivateLibvirtd, *, may_keep: bool = True) -> None:
    """See that domains and overlays are gone before the sandbox takes everything with it.

    What is saved stays for the master's next start, like images. So do VMs that somebody has kept.

    :param may_keep: whether there was somebody who could keep a VM.
    :raises DemoError: something is left.
    """
    connection = libvirt.open(sandbox.uri)
    try:
        volumes = connection.storagePoolLookupByName(STORAGE_POOL).listVolumes()
        domains = {domain.name(): vm_record(domain) for domain in connection.listAllDomains()}
    finally:
        connection.close()
    kept = kept_vms(domains.values(), volumes) if may_keep else {}
    left = [name for name, record in domains.items() if record is None or record.vm_id not in kept]
    left += [name for name in volumes if not (name.startswith(KEPT_VOLUMES) or _vm(name) in kept)]
    for vm, state in kept.items():
        console.print(f"VM {vm} is {state}. It is deleted now, as the demo ends.", markup=False)
    if left:
        raise DemoError(f"the master left behind: {', '.join(left)}")
    other = " other" if kept else ""
    console.print(f"[green]✓[/green] no{other} domain and no{other} volume is left")


def kept_vms(records: Iterable[VmRecord | None], volumes: Iterable[str]) -> dict[str, str]:
    """Return what the VMs are that a master leaves on purpose, such as frozen, by their ids."""
    states = ("held", "spare", "freezing")
    kept = {each.vm_id: each.state for each in records if each and each.state in states}
    frozen = (each for each in map(OwnedVolume.parse, volumes) if each and each.is_frozen)
    return {**kept, **dict.fromkeys((each.vm_id for each in frozen), "frozen")}


def _vm(volume: str) -> str:
    """Return the id of the VM that a volume belongs to; empty if it belongs to none."""
    name = OwnedVolume.parse(volume)
    return "" if name is None else name.vm_id


def cli() -> list[str]:
    """Give the command latent-libvirt of this environment."""
    return [LATENT_LIBVIRT]


def run(command: list[str], *, show: bool = False) -> None:
    """Run a command; unless its output is shown anyway, show it when it fails.

    :raises DemoError: it failed.
    """
    done = run_to_end(command, capture=not show)
    if done.returncode != 0:
        said = "" if show else f"\n{done.stdout}{done.stderr}"
        raise DemoError(f"{' '.join(command)} ended with status {done.returncode}{said}")


if __name__ == "__main__":
    main()
