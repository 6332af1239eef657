# SPDX-License-Identifier: GPL-2.0-only
"""Two masters that serve jobs from one PostgreSQL: what must not be twice, is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from uuid import uuid4

import pytest

from buildmaster import wait_for
from job_masters import NO_TEXTS, JobMaster, ask
from latent_libvirt.sandbox.postgresql import PrivatePostgreSQL
from receiver import Receiver, SilentReceiver

POSTS = 8
JOBS = 12
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def masters(
    tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> Iterator[tuple[JobMaster, JobMaster]]:
    directory = tmp_path_factory.mktemp("masters")
    with PrivatePostgreSQL(directory / "postgresql") as database, ExitStack() as stop:
        both = tuple(_make(directory / name, database.url) for name in ("first", "second"))
        for master in both:  # both at once: they make the table at the same moment
            master.launch()
            stop.callback(master.stop)
        for master in both:
            wait_for("the master to run", master.serves)
        yield both[0], both[1]


def _make(directory: Path, database: str) -> JobMaster:
    url = "url='http://jobs.example/'"
    return JobMaster(
        directory,
        database=database,
        job_api=f"{url}, callback_hosts=['127.0.0.1'], callback_secret='secret'",
        more="c['schedulers'] = []\nc['services'][1] = util.JobLinks(url='http://jobs.example/')",
    )


def test_the_same_job_posted_to_both_at_once_is_one(
    masters: tuple[JobMaster, JobMaster],
) -> None:
    uuids = [str(uuid4()) for _ in range(JOBS)]
    posts = [(m, uuid) for uuid in uuids for m, _n in zip(cycle(masters), range(POSTS))]
    with ThreadPoolExecutor(2 * POSTS) as pool:
        replies = list(pool.map(lambda p: p[0].post(builder="check", uuid=p[1]), posts))

    for uuid in uuids:
        mine = [r for r, (_master, posted) in zip(replies, posts, strict=True) if posted == uuid]
        assert Counter(r.status for r in mine) == {201: 1, 200: POSTS - 1}
        assert len({r.document["build_request"] for r in mine}) == 1
        assert {r.document["url"] for r in mine} == {f"http://jobs.example/jobs/{uuid}"}
    for uuid in uuids:
        assert {master.finished(uuid)["result"] for master in masters} == {"success"}
    assert len(masters[0].get("buildsets")) == JOBS
    assert all(len(masters[1].job(uuid)["attempts"]) == 1 for uuid in uuids)


def test_a_quota_holds_for_all_masters_together(masters: tuple[JobMaster, JobMaster]) -> None:
    first, second = masters
    for each in masters:
        each.hold_back()
    token = first.make_token("narrow", max_unfinished=3)
    own = (second.directory / "tokens.json").read_bytes()
    second.copy_tokens(first)
    try:
        with ThreadPoolExecutor(8) as pool:
            posts = [
                pool.submit(m.post, token=token, builder="slow")
                for m, _ in zip(cycle(masters), "8" * 8)
            ]
        replies = [post.result() for post in posts]
        assert Counter(reply.status for reply in replies) == {201: 3, 429: 5}

        for uuid in [reply.document["uuid"] for reply in replies if reply.status == 201]:
            # A machine that is busy may have let it end.
            assert first.delete(uuid, token=token).status in (200, 202)
            first.finished(uuid)
    finally:
        (second.directory / "tokens.json").write_bytes(own)


def test_of_two_jobs_under_one_uuid_one_is_refused(masters: tuple[JobMaster, JobMaster]) -> None:
    for _ in range(JOBS):
        uuid = str(uuid4())
        with ThreadPoolExecutor(2) as pool:
            posts = [
                pool.submit(m.post, builder="check", uuid=uuid, reason=m.token) for m in masters
            ]
        replies = [post.result() for post in posts]
        assert sorted(reply.status for reply in replies) == [201, 409]


def test_a_result_is_told_once_and_signed(
    masters: tuple[JobMaster, JobMaster], receiver: Receiver
) -> None:
    jobs = [
        master.post(builder="check", callback_url=receiver.url).document["uuid"]
        for master in masters
        for _ in range(3)
    ]
    for uuid in jobs:
        masters[0].wait_until_told(uuid)

    assert Counter(told.id for told in receiver.received) == dict.fromkeys(jobs, 1)
    for told in receiver.received:
        assert (told.document["uuid"], told.document["result"]) == (told.id, "success")
        assert told.is_signed_with("secret")


def test_receivers_that_say_nothing_delay_themselves_alone(
    masters: tuple[JobMaster, JobMaster], receiver: Receiver
) -> None:
    with SilentReceiver() as silent:
        slow = [
            masters[0].post(builder="check", callback_url=silent.url).document["uuid"]
            for _ in range(30)
        ]
        for uuid in slow:
            masters[0].finished(uuid)
        uuid = masters[0].post(builder="check", callback_url=receiver.url).document["uuid"]
        masters[0].finished(uuid)
        wait_for("the other to be told", lambda: uuid in [told.id for told in receiver.received])
        pending = [masters[0].job(each)["callback"] for each in slow]
        assert {each["state"] for each in pending} == {"pending"}
        assert pending[-1]["tries"] == 0, "the other has not waited until a silent one was left"


def test_a_receiver_that_fails_is_told_again(
    masters: tuple[JobMaster, JobMaster], receiver: Receiver
) -> None:
    receiver.failures = 1
    uuid = masters[0].post(builder="check", callback_url=receiver.url).document["uuid"]

    assert masters[1].wait_until_told(uuid)["callback"]["tries"] == 2
    assert [told.id for told in receiver.received].count(uuid) == 2


@pytest.mark.parametrize(("method", "where", "headers"), NO_TEXTS)
def test_text_that_postgresql_refuses_is_refused_before_it(
    masters: tuple[JobMaster, JobMaster], method: str, where: str, headers: dict[str, str]
) -> None:
    token = {"Authorization": f"Bearer {masters[0].token}"}
    reply = ask(method, masters[0].jobs_url + where, headers=token | headers)
    assert (reply.status, reply.kind) == (400, PROBLEM)
    assert "Traceback" not in masters[0].log.rpartition("BuildMaster is running")[2]


def test_a_callback_elsewhere_is_refused(masters: tuple[JobMaster, JobMaster]) -> None:
    reply = masters[0].post(builder="check", callback_url="http://169.254.169.254/latest")
    assert reply.status == 422
    assert reply.document["type"].endswith(":callback-not-allowed")


def test_a_job_that_was_cancelled_is_not_run_again_when_its_master_is_killed(
    masters: tuple[JobMaster, JobMaster],
) -> None:
    first, second = masters
    for each in masters:
        each.hold_back()
    uuid = first.post(builder="slow").document["uuid"]
    running = first.wait_for_state(uuid, "running")
    victim, other = (first, second) if running["master"].endswith("first") else (second, first)
    victim.kill()
    # Nobody hears it who could act on it, and who has said it is gone, too.
    assert other.delete(uuid).status == 202
    other.kill()

    victim.let_go()  # its build would be over in a moment
    victim.start()

    assert victim.finished(uuid)["result"] == "cancelled"
    other.start()


def test_a_job_whose_master_is_killed_is_tried_again_at_the_same_url(
    masters: tuple[JobMaster, JobMaster],
) -> None:
    first, second = masters
    for each in masters:
        each.hold_back()
    uuid = first.post(builder="slow").document["uuid"]
    running = first.wait_for_state(uuid, "running")
    victim = first if running["master"].endswith("first") else second

    victim.kill()
    victim.start()
    for each in masters:
        each.let_go()

    done = second.finished(uuid)
    assert (done["result"], done["tries"]) == ("success", 2)
    assert [attempt["result"] for attempt in done["attempts"]] == ["retry", "success"]
