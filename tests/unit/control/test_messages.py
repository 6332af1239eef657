# SPDX-License-Identifier: GPL-2.0-only
"""What is asked is what arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.control import messages
from latent_libvirt.control.messages import (
    ConsoleRequest,
    ControlError,
    DrainRequest,
    Request,
    StatusRequest,
    SweepRequest,
    UndrainRequest,
)
from latent_libvirt.status.answers import HostSweep
from latent_libvirt.status.hosts import HostStatus, Usage
from latent_libvirt.status.names import BuildRef, Target
from latent_libvirt.status.pool import LabelStatus, PoolStatus
from latent_libvirt.status.queue import QueueStatus
from latent_libvirt.status.vms import LeaseStatus

kinds = st.none() | st.sampled_from(["host", "label"])
requests = st.one_of(
    st.just(StatusRequest()),
    st.builds(DrainRequest, st.text(), kinds),
    st.builds(UndrainRequest, st.text(), kinds),
    st.builds(SweepRequest, st.booleans()),
    st.builds(ConsoleRequest, st.text(), st.booleans(), st.text(max_size=100)),
)
seconds = st.floats(0, allow_nan=False, allow_infinity=False)
leases = st.builds(
    LeaseStatus,
    seconds=seconds,
    seconds_in_phase=seconds,
    job=st.none() | st.builds(BuildRef, st.text(), st.integers(), st.text()),
)
usages = st.none() | st.builds(Usage)
hosts = st.builds(HostStatus, vcpus=usages, memory=usages)
queues = st.builds(QueueStatus, oldest=seconds)
pools = st.builds(
    PoolStatus,
    hosts=st.lists(hosts, max_size=2).map(tuple),
    labels=st.lists(st.from_type(LabelStatus), max_size=2).map(tuple),
    leases=st.lists(leases, max_size=2).map(tuple),
    waiting=st.none() | st.lists(queues, max_size=2).map(tuple),
    loaded_at=seconds,
)


@given(requests)
def test_a_request_arrives_as_it_was_sent(request: Request) -> None:
    line = messages.encode_request(request)

    assert line.count(b"\n") == 1
    assert messages.decode_request(line) == request


@given(pools)
def test_a_status_arrives_as_it_was_sent(status: PoolStatus) -> None:
    line = messages.encode_result(status)

    assert line.count(b"\n") == 1
    assert messages.decode_answer(line, PoolStatus) == status


def test_several_results_arrive_in_their_order() -> None:
    swept = (HostSweep("alpha", ("overlay",), ""), HostSweep("beta", (), "down"))

    assert messages.decode_answer(messages.encode_result(swept), tuple[HostSweep, ...]) == swept


@given(st.binary())
def test_no_request_however_broken_is_more_than_refused(line: bytes) -> None:
    with pytest.raises(ControlError):
        messages.decode_request(line)


@given(st.binary())
def test_no_answer_however_broken_is_more_than_refused(line: bytes) -> None:
    with pytest.raises(ControlError):
        messages.decode_answer(line, Target)


def test_what_a_later_master_adds_does_not_disturb_an_earlier_command() -> None:
    line = b'{"protocol": 1, "result": {"kind": "host", "name": "alpha", "since": 12}}\n'

    assert messages.decode_answer(line, Target) == Target("host", "alpha")


def test_another_protocol_is_told_with_what_to_do() -> None:
    with pytest.raises(ControlError) as caught:
        messages.decode_answer(b'{"protocol": 2, "result": {}}\n', Target)

    assert "version that the master runs" in str(caught.value)


@pytest.mark.parametrize("name", ["\udcff", "x" * 5000])
def test_a_name_that_no_master_could_read_is_refused_before_it_is_asked(name: str) -> None:
    with pytest.raises(ControlError, match="no master takes such a name") as refused:
        messages.encode_request(DrainRequest(name, None))

    assert "latent-libvirt status" in str(refused.value.resolution)


def test_a_name_in_any_script_is_asked_for() -> None:
    request = DrainRequest("\N{GRINNING FACE} łódź", None)
    assert messages.decode_request(messages.encode_request(request)) == request


@pytest.mark.parametrize(
    "error", ["5", "null", "[]", '{"details": "x"}', '{"brief": 1}', '{"a": 1}']
)
def test_an_error_of_another_form_is_no_answer(error: str) -> None:
    line = f'{{"protocol": 1, "error": {error}}}\n'.encode()

    with pytest.raises(ControlError, match="is not protocol 1"):
        messages.decode_answer(line, Target)
