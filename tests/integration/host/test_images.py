# SPDX-License-Identifier: GPL-2.0-only
"""Published images in a real storage pool, through real streams."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import libvirt
import pytest

from fake_images import fake_image, qcow2_image
from latent_libvirt.config import ImageConfig
from latent_libvirt.config.sections.label import LabelConfig
from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host import inspection
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.volumes import (
    base_image,
    image_upload,
    images,
    storage,
    upload_lock,
)
from latent_libvirt.host.volumes.samples import compare_samples
from latent_libvirt.host.volumes.transfer import (
    NewVolume,
    download,
    upload,
    volume_called,
)
from latent_libvirt.images.local import LocalImage
from latent_libvirt.sandbox import PrivateLibvirtd

MIB = 1 << 20


@pytest.fixture(scope="module")
def libvirtd(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[libvirt.virConnect]:
    """Give a connection to a libvirtd of this module's own."""
    directory = tmp_path_factory.mktemp("libvirtd")
    with PrivateLibvirtd(directory, capability_cache=cache / "libvirt") as sandbox:
        sandbox.define_storage_pool("images")
        connection = libvirt.open(sandbox.uri)
        yield connection
        connection.close()


@pytest.fixture
def pool(libvirtd: libvirt.virConnect) -> Iterator[libvirt.virStoragePool]:
    """Give an empty storage pool."""
    pool = libvirtd.storagePoolLookupByName("images")
    yield pool
    pool.refresh(0)
    for volume in pool.listAllVolumes():
        volume.delete(0)


def content(pool: libvirt.virStoragePool, name: str) -> bytes:
    return b"".join(download(pool.storageVolLookupByName(name)))


def overwrite(pool: libvirt.virStoragePool, name: str, data: bytes) -> None:
    pool.storageVolLookupByName(name).delete(0)
    upload(pool, NewVolume(name, len(data), len(data)), [data])


def test_an_image_without_a_kernel_is_published_and_booted_by_its_bios(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    with_one = image_upload.publish(pool, fake_image(tmp_path / "built", year=2025))
    local = fake_image(tmp_path / "imported", name="cloud", content=b"x" * 300_000, kernel=False)
    image = image_upload.publish(pool, local)

    assert images.find(pool, "cloud") == image
    assert base_image.resolve(pool, ImageConfig(name="cloud")).boot is None
    kernel = base_image.any_kernel(pool, "x86_64")
    assert kernel is not None
    assert kernel.kernel.endswith(with_one.kernel)
    images.verify(pool, image)
    images.delete(pool, image)
    assert not any(".cloud." in name for name in pool.listVolumes())


def test_an_image_that_the_host_cannot_run_is_not_published(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    foreign = fake_image(tmp_path, name="foreign", architecture="pdp11")

    with pytest.raises(ConfigurationError, match="foreign is for pdp11, which qemu") as refused:
        image_upload.publish(pool, foreign)

    assert "It has no QEMU for pdp11" in str(refused.value)
    assert pool.listVolumes() == []


def test_an_image_is_for_vms_of_its_architecture_alone(
    pool: libvirt.virStoragePool, libvirtd: libvirt.virConnect, tmp_path: Path
) -> None:
    image_upload.publish(pool, fake_image(tmp_path))
    wanted, label = ImageConfig(name="debian-12"), LabelConfig(image="debian-12")

    assert inspection.image(libvirtd, "images", wanted, label).architecture == "x86_64"
    label = LabelConfig(image="debian-12", arch="aarch64")
    with pytest.raises(ConfigurationError, match="debian-12 is for x86_64, and its label has"):
        inspection.image(libvirtd, "images", wanted, label)
    assert base_image.any_kernel(pool, "aarch64") is None


def test_an_image_that_no_bios_boots_is_for_labels_with_uefi_alone(
    pool: libvirt.virStoragePool, libvirtd: libvirt.virConnect, tmp_path: Path
) -> None:
    image_upload.publish(pool, fake_image(tmp_path, firmware="uefi"))
    wanted = ImageConfig(name="debian-12")

    with pytest.raises(ConfigurationError, match="debian-12 boots by UEFI only") as refused:
        inspection.image(libvirtd, "images", wanted, LabelConfig(image="debian-12"))
    assert "Write firmware: uefi in the label" in str(refused.value)
    for firmware in ("uefi", "uefi-secure"):
        label = LabelConfig(image="debian-12", firmware=firmware)
        assert inspection.image(libvirtd, "images", wanted, label).firmware == "uefi"


def test_a_published_image_is_found_and_is_what_was_built(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    local = fake_image(tmp_path, content=b"x" * 3_000_000)
    seen: list[tuple[int, int]] = []

    image = image_upload.publish(pool, local, lambda done, total: seen.append((done, total)))

    assert images.find(pool, "debian-12") == image
    assert images.find(pool, "debian-12", image.digest[:12]) == image
    assert image.description == local.description
    assert content(pool, image.disk) == local.path("disk").read_bytes()
    assert content(pool, image.kernel) == local.path("kernel").read_bytes()
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
    images.verify(pool, image)


def test_the_newest_image_of_a_name_is_found(pool: libvirt.virStoragePool, tmp_path: Path) -> None:
    new = image_upload.publish(pool, fake_image(tmp_path, content=b"new" * 100_000, year=2026))
    old = image_upload.publish(pool, fake_image(tmp_path, content=b"old" * 100_000, year=2024))
    other = image_upload.publish(pool, fake_image(tmp_path, name="debian-12-small", year=2027))

    assert images.find(pool, "debian-12") == new
    assert images.published(pool) == (other, new, old)


def test_a_version_is_taken_where_it_is_published_and_else_the_newest(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    old = image_upload.publish(pool, fake_image(tmp_path, content=b"old" * 100_000, year=2024))
    new = image_upload.publish(pool, fake_image(tmp_path, content=b"new" * 100_000, year=2026))
    catalog, wanted = base_image.Catalog(), ImageConfig(name="debian-12")

    def version_of(digest: str) -> str:
        return catalog.resolve(pool, wanted, version=digest).digest

    assert version_of(old.digest) == old.digest
    assert version_of("0" * 64) == version_of("") == new.digest
    pool.storageVolLookupByName(old.kernel).delete(0)
    assert version_of(old.digest) == new.digest


def test_an_image_that_is_not_published_is_named_with_what_is_and_what_to_do(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    there = image_upload.publish(pool, fake_image(tmp_path))

    with pytest.raises(ConfigurationError) as caught:
        images.find(pool, "debian-13")

    assert "debian-13 is not published in storage pool 'images'" in caught.value.brief
    assert there.description.short_digest in (caught.value.details or "")
    assert "image publish debian-13 --uri" in (caught.value.resolution or "")


def test_a_digest_that_nobody_published_is_not_replaced_by_another(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    image_upload.publish(pool, fake_image(tmp_path))

    with pytest.raises(ConfigurationError, match="debian-12 000000000000 is not published"):
        images.find(pool, "debian-12", "000000000000")


def test_a_published_image_is_never_written_again(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    local = fake_image(tmp_path)
    image = image_upload.publish(pool, local)
    local.path("disk").write_bytes(b"something else")

    assert image_upload.publish(pool, local) == image
    images.verify(pool, image)


def test_an_equal_image_that_was_built_later_is_the_one_that_is_there(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    image = image_upload.publish(pool, fake_image(tmp_path / "one", year=2025))

    assert image_upload.publish(pool, fake_image(tmp_path / "two", year=2026)) == image


def test_local_files_that_are_not_what_was_built_are_not_published(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    local = fake_image(tmp_path)
    local.path("disk").write_bytes(b"other")

    with pytest.raises(ConfigurationError, match="is not what was built"):
        image_upload.publish(pool, local)

    assert images.published(pool) == ()


def test_a_local_file_that_was_changed_in_place_is_not_published_and_nothing_is_left(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    local = fake_image(tmp_path, content=b"0123456789" * MIB)
    local.verify()
    with local.path("disk").open("r+b") as file:
        file.seek(5_000_001)
        file.write(b"damage")

    with pytest.raises(ConfigurationError, match="is not what was built"):
        image_upload.publish(pool, local)

    assert pool.listVolumes() == []


@pytest.mark.parametrize("is_hashed", [True, False])
def test_a_local_file_that_is_written_while_it_is_sent_is_not_published(
    pool: libvirt.virStoragePool, tmp_path: Path, *, is_hashed: bool
) -> None:
    local = fake_image(tmp_path, content=b"0123456789" * MIB)
    if is_hashed:
        local.verify()

    def damage(_done: int, _total: int) -> None:
        with local.path("disk").open("r+b") as file:
            file.seek(5_000_001)
            file.write(b"damage")

    with pytest.raises(ConfigurationError, match=r"is not what was built|was written while"):
        image_upload.publish(pool, local, damage)

    assert pool.listVolumes() == []


def test_a_volume_of_the_right_length_with_something_else_in_it_is_not_published(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    local = fake_image(tmp_path, content=b"0123456789" * MIB)
    local.verify()

    def replace(done: int, total: int) -> None:
        if done == total:
            disk = images.PublishedImage.of(local.description).disk
            overwrite(pool, disk, b"9876543210" * MIB)

    with pytest.raises(HostError, match="is not what was published"):
        image_upload.publish(pool, local, replace)

    assert images.published(pool) == ()


def test_a_hole_that_a_host_did_not_make_is_seen(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(40 * MIB)
        for at in range(0, 40, 4):
            file.seek(at * MIB)
            file.write(b"data" * (MIB // 4))
    sent = path.read_bytes()
    upload(pool, NewVolume("good", len(sent), len(sent)), [sent])
    upload(pool, NewVolume("bad", len(sent), len(sent)), [sent.replace(bytes(MIB), b"x" * MIB)])

    compare_samples(pool, "good", path, len(sent))
    with pytest.raises(HostError, match="volume bad is not what was published"):
        compare_samples(pool, "bad", path, len(sent))
    with pytest.raises(HostError, match="volume none is not what was published"):
        compare_samples(pool, "none", path, len(sent))


@pytest.mark.parametrize(("keeps", "times"), [(True, 1), (False, 2)])
def test_a_connection_that_checks_nothing_has_all_read_back(
    pool: libvirt.virStoragePool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    keeps: bool,
    times: int,
) -> None:
    monkeypatch.setattr(image_upload, "keeps_content", lambda _uri: keeps)
    local = fake_image(tmp_path, content=b"x" * 3_000_000)
    seen: list[tuple[int, int]] = []
    image_upload.publish(pool, local, lambda done, total: seen.append((done, total)))

    assert seen[-1] == (times * local.description.parts.size,) * 2


class InterruptedByUserError(Exception):
    """What Ctrl-C is to a test."""


def interrupt(_done: int, _total: int) -> None:
    raise InterruptedByUserError


def test_an_interrupted_upload_is_no_image_and_can_be_repeated(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    local = fake_image(tmp_path)
    with pytest.raises(InterruptedByUserError):
        image_upload.publish(pool, local, interrupt)

    assert images.published(pool) == ()
    images.verify(pool, image_upload.publish(pool, local))


def test_what_a_killed_upload_left_is_replaced(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    local = fake_image(tmp_path)
    image = image_upload.publish(pool, local)
    pool.storageVolLookupByName(image.json).delete(0)
    overwrite(pool, image.disk, b"half a")

    image_upload.publish(pool, local)

    images.verify(pool, image)


def publish_at_once(
    pool: libvirt.virStoragePool, local: LocalImage, *, count: int
) -> list[images.PublishedImage]:
    """Publish *local* from several threads, which begin in the same moment."""
    begin = threading.Barrier(count)

    def publish() -> images.PublishedImage:
        begin.wait()
        return image_upload.publish(pool, local)

    with ThreadPoolExecutor(count) as threads:
        uploads = [threads.submit(publish) for _ in range(count)]
        return [upload.result() for upload in uploads]


@pytest.mark.parametrize("count", [2, 5])
def test_uploads_at_once_are_one_upload_that_all_wait_for(
    pool: libvirt.virStoragePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(upload_lock, "_LOOK_EVERY", 0.01)
    local = fake_image(tmp_path, content=b"x" * 2_000_000)

    results = publish_at_once(pool, local, count=count)

    image = images.find(pool, "debian-12")
    assert results == [image] * count
    images.verify(pool, image)
    assert sorted(pool.listVolumes()) == sorted(
        (image.disk, image.kernel, image.initrd, image.json)
    )


def test_who_comes_while_an_upload_is_under_way_is_told_so_and_gets_its_image(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    local = fake_image(tmp_path, content=b"x" * 20_000_000)
    waits = threading.Event()
    begun = threading.Event()

    def first(done: int, _total: int) -> None:
        begun.set()
        if done > 10_000_000:
            assert waits.wait(60)

    with ThreadPoolExecutor() as threads:
        one = threads.submit(image_upload.publish, pool, local, first)
        assert begun.wait(60)
        two = threads.submit(image_upload.publish, pool, local, waiting=waits.set)
        assert one.result() == two.result()

    images.verify(pool, one.result())


def test_an_upload_that_has_died_is_taken_over(
    pool: libvirt.virStoragePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_lock, "STALE_AFTER", 0.5)
    monkeypatch.setattr(upload_lock, "_LOOK_EVERY", 0.05)
    local = fake_image(tmp_path)
    image = images.PublishedImage.of(local.description)
    dead = b"the token of a process that was killed"
    upload(pool, NewVolume(image.lock, 64, 64), [dead.ljust(64)])
    upload(pool, image.new_volume("disk"), [b"half a"])

    images.verify(pool, image_upload.publish(pool, local))

    assert volume_called(pool, image.lock) is None


def test_an_upload_that_was_taken_for_dead_waits_for_the_one_in_its_place(
    pool: libvirt.virStoragePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = fake_image(tmp_path)
    image = images.PublishedImage.of(local.description)
    others: list[images.PublishedImage] = []

    def replace(_done: int, _total: int) -> None:
        if not others:
            storage.delete_volume(pool, image.lock)
            others.append(image_upload.publish(pool, local))
            storage.delete_volume(pool, image.disk)

    # The other one has damaged it, so that this one has to notice, and to do it once more.
    assert image_upload.publish(pool, local, replace) == others[0]

    images.verify(pool, image)


def test_a_lock_is_kept_by_its_count(
    pool: libvirt.virStoragePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_lock, "_COUNT_EVERY", 0.0)
    monkeypatch.setattr(upload_lock, "_LOOK_EVERY", 0.1)
    monkeypatch.setattr(upload_lock, "STALE_AFTER", 1.0)

    def nothing() -> None:
        pass

    held = upload_lock.take(pool, "x.lock", unless=lambda: False, waiting=nothing)
    assert held is not None
    looks = iter(range(30))  # for three times as long as a dead one would be respected

    def wait() -> None:
        held.keep()

    other = upload_lock.take(pool, "x.lock", unless=lambda: next(looks, None) is None, waiting=wait)

    assert other is None
    assert held.is_held()
    held.release()
    assert pool.listVolumes() == []


def test_who_finds_that_another_upload_has_replaced_its_own_gives_up(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    local = fake_image(tmp_path)
    size = local.description.parts.size

    def replace(done: int, _total: int) -> None:
        if done == size:
            overwrite(pool, images.PublishedImage.of(local.description).disk, b"half a")

    with pytest.raises(HostError, match="is not what was published"):
        image_upload.publish(pool, local, replace)

    assert images.published(pool) == ()


@pytest.mark.parametrize("part", ["disk", "kernel", "initrd"])
def test_a_volume_that_was_tampered_with_is_named(
    pool: libvirt.virStoragePool, tmp_path: Path, part: str
) -> None:
    image = image_upload.publish(pool, fake_image(tmp_path))
    name = str(getattr(image, part))
    overwrite(pool, name, b"evil")

    with pytest.raises(HostError, match=f"volume {name} is not what was published"):
        images.verify(pool, image)


@pytest.mark.parametrize("part", ["disk", "kernel"])
def test_an_image_that_was_changed_on_the_host_is_not_published_again(
    pool: libvirt.virStoragePool, tmp_path: Path, part: Literal["disk", "kernel"]
) -> None:
    local = fake_image(tmp_path)
    image = image_upload.publish(pool, local)
    size = local.description.part(part).size
    overwrite(pool, image.volume(part), b"evil".ljust(size, b"!"))

    with pytest.raises(HostError, match=r"is not what was published[\s\S]*Delete image"):
        image_upload.publish(pool, local)


def test_a_volume_that_is_gone_is_named(pool: libvirt.virStoragePool, tmp_path: Path) -> None:
    image = image_upload.publish(pool, fake_image(tmp_path))
    pool.storageVolLookupByName(image.kernel).delete(0)

    with pytest.raises(HostError, match=r"kernel is not what was published[\s\S]*is nothing"):
        images.verify(pool, image)


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", bytes(700), b"x" * 100_000])
def test_an_image_whose_description_is_damaged_is_none_and_can_be_published_again(
    pool: libvirt.virStoragePool, tmp_path: Path, text: bytes
) -> None:
    local = fake_image(tmp_path)
    image = image_upload.publish(pool, local)
    other = image_upload.publish(pool, fake_image(tmp_path, name="other"))
    overwrite(pool, image.json, text)

    with pytest.raises(ConfigurationError, match=f"volume {image.json} "):
        images.find(pool, "debian-12")
    assert images.published(pool) == (other,)
    (said,) = images.damaged(pool)
    assert said.startswith(f"volume {image.json} ")
    assert f"vol-delete --pool images {image.json}" in said

    assert image_upload.publish(pool, local) == image
    assert images.damaged(pool) == ()
    assert images.find(pool, "debian-12") == image


def test_a_description_under_another_images_name_is_no_image(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    one = image_upload.publish(pool, fake_image(tmp_path, content=b"one" * 100_000))
    two = image_upload.publish(pool, fake_image(tmp_path, content=b"two" * 100_000))
    overwrite(pool, one.json, two.description.to_json().encode())

    assert images.published(pool) == (two,)


def test_an_image_copied_into_the_pools_directory_is_found(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    image = image_upload.publish(pool, fake_image(tmp_path))
    directory = Path(pool.storageVolLookupByName(image.disk).path()).parent
    aside = tmp_path / "aside"
    aside.mkdir()
    for name in pool.listVolumes():
        (directory / name).rename(aside / name)
    pool.refresh(0)
    assert images.published(pool) == ()
    for file in aside.iterdir():
        file.rename(directory / file.name)

    assert images.find(pool, "debian-12") == image


def test_other_volumes_are_no_images(pool: libvirt.virStoragePool) -> None:
    for name in ("latent-libvirt.image.x.json", "other.json", "latent-libvirt.image.a.b.c.json"):
        upload(pool, NewVolume(name, 1, 1), [b"x"])

    assert images.published(pool) == ()


def test_an_image_is_deleted_only_when_no_overlay_needs_it(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    image = image_upload.publish(pool, qcow2_image(tmp_path))
    overlay = OwnedVolume("0" * 12, 1, "abc")
    base = pool.storageVolLookupByName(image.disk)
    storage.create_overlay(pool, overlay, base=base, capacity=None)

    with pytest.raises(ConfigurationError, match="is in use") as caught:
        images.delete(pool, image)
    assert str(overlay) in (caught.value.details or "")

    storage.delete_volume(pool, str(overlay))
    images.delete(pool, image)
    assert pool.listVolumes() == []


def test_an_overlay_sees_the_whole_disk_right_after_the_upload(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    image = image_upload.publish(pool, qcow2_image(tmp_path))
    base = pool.storageVolLookupByName(image.disk)

    storage.create_overlay(pool, OwnedVolume("0" * 12, 1, "abc"), base=base, capacity=None)

    assert pool.storageVolLookupByName(str(OwnedVolume("0" * 12, 1, "abc"))).info()[1] == 2**20


def test_an_upload_that_fails_leaves_no_volume(pool: libvirt.virStoragePool) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise InterruptedByUserError

    with pytest.raises(InterruptedByUserError):
        upload(pool, NewVolume("half", 2, 2), chunks())

    assert volume_called(pool, "half") is None


SPARSE = b"q" * 100 + bytes(2 * MIB) + b"data" * MIB + bytes(20 * MIB) + b"end" + bytes(3 * MIB)
"""A hole where libvirt formats a new volume, one in the middle, and one at the end."""


def stored(pool: libvirt.virStoragePool, name: str) -> int:
    """Return the bytes that a volume takes on its host."""
    return Path(pool.storageVolLookupByName(name).path()).stat().st_blocks * 512


def test_holes_of_a_disk_are_holes_on_its_host(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    image = image_upload.publish(pool, fake_image(tmp_path, content=SPARSE))

    assert content(pool, image.disk) == SPARSE
    assert stored(pool, image.disk) < 12 * MIB
    images.verify(pool, image)


def test_a_host_without_sparse_streams_gets_the_zeros_and_that_is_said(
    pool: libvirt.virStoragePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UPLOAD", "DOWNLOAD"):
        monkeypatch.setattr(libvirt, f"VIR_STORAGE_VOL_{name}_SPARSE_STREAM", 1 << 7)
    said: list[str] = []

    image = image_upload.publish(pool, fake_image(tmp_path, content=SPARSE), say=said.append)

    assert content(pool, image.disk) == SPARSE
    assert "no sparse streams" in said[0]


def interrupted_at(pool: libvirt.virStoragePool, local: LocalImage, place: int) -> None:
    """Upload until *place*, and press Ctrl-C."""

    def press(done: int, _total: int) -> None:
        if done >= place:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        image_upload.publish(pool, local, press)


def test_an_interrupted_upload_is_gone_on_with(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    local = fake_image(tmp_path, content=b"0123456789" * 6 * MIB)
    interrupted_at(pool, local, 50 * MIB)
    assert images.published(pool) == ()
    said: list[str] = []
    first: list[int] = []

    image = image_upload.publish(pool, local, lambda done, _: first.append(done), say=said.append)

    assert "An interrupted upload has left" in said[0]
    assert first[0] > 4 * MIB
    assert content(pool, image.disk) == local.path("disk").read_bytes()


def test_what_an_interrupted_upload_left_is_replaced_if_it_was_damaged(
    pool: libvirt.virStoragePool, tmp_path: Path
) -> None:
    local = fake_image(tmp_path, content=b"0123456789" * 6 * MIB)
    interrupted_at(pool, local, 50 * MIB)
    disk = pool.storageVolLookupByName(images.PublishedImage.of(local.description).disk)
    with Path(disk.path()).open("r+b") as file:
        file.write(b"damage")
    said: list[str] = []

    image = image_upload.publish(pool, local, say=said.append)

    assert "was damaged" in said[1]
    images.verify(pool, image)
