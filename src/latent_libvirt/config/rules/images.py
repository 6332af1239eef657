# SPDX-License-Identifier: GPL-2.0-only
"""Labels against the images that their VMs boot, and images against themselves."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from latent_libvirt.advice.guesses import nearest
from latent_libvirt.config.faults import fault
from latent_libvirt.config.rules.plain_values import section
from latent_libvirt.config.suggestions import suggestion
from latent_libvirt.config.text import quoted
from latent_libvirt.images.architectures import QEMU_PACKAGES, X86_64

if TYPE_CHECKING:
    from latent_libvirt.config.rules.plain_values import Fault


def of_label(name: str, label: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what does not agree with the image of label *name*."""
    yield from _missing_image(name, label, section(config, "images"))
    yield from _image_of_another_machine(name, label, section(config, "images"))
    yield from _unsigned_volume(name, label, config)


@functools.cache
def recipe_names() -> tuple[str, ...]:
    """Return the names of the images that this package knows how to build.

    They are asked for at each label.
    """
    from latent_libvirt.images import recipes  # noqa: PLC0415 - most configurations need none

    return recipes.names()


@functools.cache
def recipe_architecture(name: str) -> str:
    """Return the architecture of an image that this package knows how to build."""
    from latent_libvirt.images import recipes  # noqa: PLC0415 - most configurations need none

    return recipes.load(name).settings.arch


def _missing_image(
    name: str, label: Mapping[str, Any], images: Mapping[str, Any]
) -> Iterator[Fault]:
    image = label.get("image")
    known = [*images, *(recipe for recipe in recipe_names() if recipe not in images)]
    if isinstance(image, str) and image not in known:
        what, remedy = f"there is no image {quoted(image)}", suggestion(image, known, kind="images")
        if nearest(image, known) is None:
            remedy += f"; an image of your own needs an entry: `images: {{{quoted(image)}: {{}}}}`"
        yield ("labels", name, "image"), fault(what, remedy)


def _image_of_another_machine(
    name: str, label: Mapping[str, Any], images: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find images of this package's recipes that VMs of the label could not boot.

    What an entry in `images` stands for is known to the hosts alone, whatever its name is.
    """
    image, arch = label.get("image"), str(label.get("arch", X86_64))
    if not isinstance(image, str) or image in images or image not in recipe_names():
        return
    own = f"an image of your own that is called {image} needs an entry in `images`"
    if arch in QEMU_PACKAGES and arch != (other := recipe_architecture(image)):
        what = f"{quoted(image)} is an image for {other}, and the label has arch: {arch}"
        remedy = f"name an image for {arch}, or write `arch: {other}`; {own}"
        yield ("labels", name, "image"), fault(what, remedy, beside=["arch"])
    elif label.get("firmware") == "uefi-secure":
        what = f"{quoted(image)} is booted by a kernel that Secure Boot refuses"
        remedy = f"name an image with a signed boot loader, or write `firmware: uefi`; {own}"
        yield ("labels", name, "image"), fault(what, remedy, beside=["firmware"])


def by_themselves(images: Mapping[str, Any]) -> Iterator[Fault]:
    """Find images that are both a volume and a published image."""
    for name, image in images.items():
        if isinstance(image, Mapping) and image.get("volume") is not None:
            for key in ("name", "digest", "require_signed", "canary"):
                if image.get(key) is not None:
                    what = "cannot stand beside `volume`: that is no published image"
                    yield ("images", name, key), fault(what, "remove one of the two")
        elif isinstance(image, Mapping) and image.get("digest") and image.get("canary"):
            what = "cannot stand beside `digest`, which pins one version"
            yield ("images", name, "canary"), fault(what, "remove one of the two")


def _unsigned_volume(
    name: str, label: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find an image that cannot be signed where all of them have to be."""
    image = section(config, "images").get(str(label.get("image")))
    is_volume = isinstance(image, Mapping) and image.get("volume") is not None
    if is_volume and section(config, "master").get("require_signed") is not None:
        what = f"{quoted(label['image'])} is a volume, which has no signature"
        remedy = (
            "publish that disk (latent-libvirt image publish FILE --name NAME) and sign it, or "
        )
        remedy += "name the keys at each image in place of `master.require_signed`"
        yield ("labels", name, "image"), fault(what, remedy)
