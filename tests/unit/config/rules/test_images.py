# SPDX-License-Identifier: GPL-2.0-only
"""Images that a label's VMs could not boot, and keys of images that exclude each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Problems = Callable[[str], list[str]]
ONE_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINGZGBfq1BVrN0EhNDzxdkqVM5RAqJchrV9KN1a3hVUA ops@example"
)


def test_a_volume_is_refused_where_all_images_must_be_signed(
    problems_of: Problems, good: str
) -> None:
    text = good.replace("    name: debian-12\n", "").replace(
        "digest: 3f9a0c52d1e7", "volume: a.qcow2"
    )
    text = text.replace("max_vms: 4\n", f"max_vms: 4\n  require_signed: {ONE_KEY}\n")

    (problem,) = problems_of(text)

    assert "'a.qcow2'" in problem or "'pinned' is a volume, which has no signature" in problem


def test_an_image_that_is_pinned_has_no_canary(problems_of: Problems, good: str) -> None:
    text = good.replace("    digest: 3f9a0c52d1e7\n", "    digest: 3f9a0c52d1e7\n    canary: 10%\n")

    (problem,) = problems_of(text)

    assert "cannot stand beside `digest`, which pins one version" in problem


@pytest.mark.parametrize(
    ("image", "keys", "said"),
    [
        (
            "debian-12",
            "arch: aarch64",
            (
                "18:12: labels.debian-12.image: 'debian-12' is an image for x86_64, and the label "
                "has arch: aarch64; name an image for aarch64, or write `arch: x86_64`; an image "
                "of your own that is called debian-12 needs an entry in `images`"
            ),
        ),
        (
            "debian-12-aarch64",
            "vcpus: 2",
            "18:12: labels.debian-12.image: 'debian-12-aarch64' is an image for aarch64, and the",
        ),
        (
            "debian-12",
            "firmware: uefi-secure",
            (
                "18:12: labels.debian-12.image: 'debian-12' is booted by a kernel that Secure Boot "
                "refuses; name an image with a signed boot loader, or write `firmware: uefi`; an"
            ),
        ),
        (
            "debian-12-aarch64",
            "arch: aarch64\n    cpu: EPYC-Rome",
            (
                "20:10: labels.debian-12.cpu: 'EPYC-Rome' is a processor of x86_64, and the label "
                "has arch: aarch64; remove it, or name one of aarch64, `host` or `maximum`"
            ),
        ),
        (
            "pinned",
            "cpu: cortex-a72 -pmu",
            "19:10: labels.debian-12.cpu: 'cortex-a72' is a processor of aarch64, and the label",
        ),
        (
            "pinned",
            "firmware: uefi-secure\n    machine: pc-i440fx-7.2",
            (
                "20:14: labels.debian-12.machine: Secure Boot does not work on the machine "
                "'pc-i440fx-7.2'; write `q35`, or remove the key"
            ),
        ),
    ],
)
def test_what_can_never_boot_is_refused_before_any_host_is_asked(
    problem_with: Callable[[str, str], str], image: str, keys: str, said: str
) -> None:
    found = problem_with("image: debian-12\n    memory: 1GiB", f"image: {image}\n    {keys}")

    assert found.startswith(said)


@pytest.mark.parametrize(
    "keys",
    [
        "firmware: uefi-secure\n    machine: pc-q35-7.2",
        "firmware: uefi-secure\n    cpu: host",
        "machine: pc\n    cpu: Skylake-Server",
        "arch: aarch64\n    cpu: neoverse-n1",
        "arch: aarch64\n    cpu: max-of-the-next-year",
    ],
)
def test_an_entry_in_images_may_stand_for_any_image(
    problems_of: Problems, good: str, keys: str
) -> None:
    text = good.replace("image: debian-12\n    memory: 1GiB", f"image: pinned\n    {keys}")

    assert problems_of(text) == []
