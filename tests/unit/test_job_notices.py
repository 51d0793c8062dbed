"""The webhook of jobs: what is noted with the end of a job is delivered once, by whoever is there."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.job_notices import SqlJobNotices
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.tables import job_notices
from jesse_mcp.domain.access import LOCAL
from jesse_mcp.domain.call_context import calling
from jesse_mcp.domain.deliveries import Delivery, JobNotice
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.leases import Gone
from jesse_mcp.ports.webhooks import WebhookAttempt
from jesse_mcp.server.secret_masking import SecretMask, secrets_of
from jesse_mcp.services.job_notices import CLAIM_MS, OLDEST_MS, JobNotifier
from jesse_mcp.services.webhook_attempts import MAX_ATTEMPTS
from jesse_mcp.settings import Settings
from postgres_host import Place

NOW = 1_767_225_600
NOW_MS = NOW * 1000
URL = "https://hooks.example/x"
ENDS = [JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.LOST]
DEAD = Gone(dead=frozenset({"dead"}))


@pytest.fixture
def store(records: Database) -> SqlJobStore:
    return SqlJobStore(records, now=lambda: NOW, noticed=True)


def ended(store: SqlJobStore, state: JobState = JobState.DONE, **how: Any) -> str:
    with calling(LOCAL, "req_1", "backtest"):
        job_id = store.create("backtest", {"secret": "argument"}, "me", 0.0).job_id
    store.start(job_id)
    assert store.finish(job_id, state, **how)
    return job_id


class Notices(SqlJobNotices):
    """With a clock of this test's own."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.now = NOW_MS

    def now_ms(self) -> int:
        return self.now


class Sender:
    """Gives ``answers`` in turn, the last one for good."""

    def __init__(self, *answers: WebhookAttempt) -> None:
        self.answers = list(answers) or [WebhookAttempt()]
        self.sent: list[Delivery] = []
        self.refusal: ResearchError | None = None
        self.free = asyncio.Event()
        self.free.set()

    async def check(self, url: str) -> None:
        assert url == URL
        if self.refusal is not None:
            raise self.refusal

    async def send(self, delivery: Delivery) -> WebhookAttempt:
        self.sent.append(delivery)
        await self.free.wait()
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def keys(self) -> list[str]:
        return [delivery.delivery_key for delivery in self.sent]


def notifier(notices: SqlJobNotices, sender: Sender, **more: Any) -> JobNotifier:
    return JobNotifier(notices, sender, URL, beat_seconds=0.01, **more)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


# -- what is noted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ENDS)
def test_every_end_is_noted_with_what_a_receiver_needs(
    store: SqlJobStore, records: Database, state: JobState
) -> None:
    error = None if state is JobState.DONE else {"code": "run_failed", "message": "secret words", "hint": "h"}
    job_id = ended(store, state, run_id="run_1", error=error, result={"secret": "answer"})
    (notice,) = SqlJobNotices(records).claim(NOW_MS, NOW_MS + 1, 10)
    assert notice.delivery_key == f"{job_id}:{state.value}"
    assert notice.content() == {
        "key": f"{job_id}:{state.value}",
        "job_id": job_id,
        "kind": "backtest",
        "tool": "backtest",
        "state": state.value,
        "created_at": "2026-01-01T00:00:00.000Z",
        "started_at": "2026-01-01T00:00:00.000Z",
        "finished_at": "2026-01-01T00:00:00.000Z",
        "run_id": "run_1",
        "error_code": error and "run_failed",
    }
    assert (notice.attempts, notice.delivered_at, notice.failure) == (0, None, None)
    assert "secret" not in str(notice.content())


def test_a_job_of_a_dead_server_is_noted_as_lost_and_no_end_twice(
    store: SqlJobStore, records: Database
) -> None:
    job_id = store.create("optimize", {}, "dead", 0.0).job_id
    assert store.reap(DEAD) == [job_id]
    assert store.reap(DEAD) == []
    assert not store.finish(job_id, JobState.DONE)
    (notice,) = SqlJobNotices(records).claim(NOW_MS, NOW_MS + 1, 10)
    assert (notice.state, notice.error_code, notice.tool) == (JobState.LOST, "job_lost", None)
    assert notice.delivery_key == f"{job_id}:lost"
    assert notice.started_at is None


def test_nothing_is_noted_without_the_setting(records: Database) -> None:
    silent = SqlJobStore(records, now=lambda: NOW)
    ended(silent)
    silent.create("backtest", {}, "dead", 0.0)
    assert len(silent.reap(DEAD)) == 1
    assert SqlJobNotices(records).counts() == {"waiting": 0, "delivered": 0, "given_up": 0}
    # What has ended by then stays as it is when the setting comes.
    still_active = silent.create("backtest", {}, "me", 0.0).job_id
    assert SqlJobStore(records, noticed=True).finish(still_active, JobState.DONE)
    assert [one.job_id for one in SqlJobNotices(records).claim(NOW_MS, NOW_MS + 1, 10)] == [still_active]


def test_an_end_that_cannot_be_stored_is_not_noted_either(store: SqlJobStore, records: Database) -> None:
    job_id = store.create("backtest", {}, "me", 0.0).job_id
    with pytest.raises(ResearchError):
        store.finish(job_id, JobState.FAILED, error={"code": "x", "message": object()})
    assert store.get(job_id).state is JobState.QUEUED
    assert SqlJobNotices(records).counts()["waiting"] == 0


# -- who delivers ----------------------------------------------------------------------------------------


def test_a_claim_is_one_servers_until_it_runs_out(store: SqlJobStore, place: Place) -> None:
    first, second = ended(store), ended(store)
    mine, other = SqlJobNotices(place.open()), SqlJobNotices(place.open())
    (claimed,) = mine.claim(NOW_MS, NOW_MS + 60, 1)
    assert claimed.job_id == first, "the oldest"
    assert [one.job_id for one in other.claim(NOW_MS, NOW_MS + 60, 10)] == [second]
    assert other.claim(NOW_MS + 59, NOW_MS + 99, 10) == []
    (again, _) = other.claim(NOW_MS + 60, NOW_MS + 99, 10)
    assert again.delivery_key == claimed.delivery_key
    # Whoever comes back late says nothing about what is another's now.
    assert not mine.note(claimed, claimed.model_copy(update={"next_attempt_at": None, "attempts": 1}))
    assert other.note(again, again.model_copy(update={"next_attempt_at": None, "delivered_at": NOW_MS}))
    assert other.counts() == {"waiting": 1, "delivered": 1, "given_up": 0}


def test_what_another_server_is_claiming_is_left_to_it(postgresql: Place) -> None:
    ended(SqlJobStore(postgresql.open(), now=lambda: NOW, noticed=True))
    with postgresql.open().writing() as connection:
        connection.execute(select(job_notices).with_for_update()).all()
        assert SqlJobNotices(postgresql.open()).claim(NOW_MS, NOW_MS + 60, 10) == [], "without waiting"
    assert len(SqlJobNotices(postgresql.open()).claim(NOW_MS, NOW_MS + 60, 10)) == 1


async def test_of_several_servers_exactly_one_delivers_each(place: Place) -> None:
    store = SqlJobStore(place.open(), noticed=True)
    job_ids = {ended(store, ENDS[number % 4], error={"code": "x"}) for number in range(30)}
    sender = Sender()
    servers = [notifier(SqlJobNotices(place.open()), sender) for _ in range(3)]
    await asyncio.gather(*(server.start() for server in servers))
    await until(lambda: len(sender.sent) >= 30)
    for server in servers:
        await server.close()
    assert len(sender.keys) == len(set(sender.keys)) == 30
    assert {key.split(":")[0] for key in sender.keys} == job_ids
    assert await servers[0].counts() == {"waiting": 0, "delivered": 30, "given_up": 0}


async def test_one_that_dies_while_it_delivers_is_followed_by_another(
    store: SqlJobStore, place: Place
) -> None:
    job_id = ended(store)
    dying, stuck = notifier(Notices(place.open()), Sender(), last_seconds=0.01), Sender()
    stuck.free.clear()
    dying._sender = stuck
    await dying.start()
    await until(lambda: len(stuck.sent) == 1)
    await dying.close()
    later = Notices(place.open())
    later.now = NOW_MS + CLAIM_MS - 1
    follower = Sender()
    other = notifier(later, follower)
    assert await other._round() == 0, "the first one may still be at it"
    later.now += 1
    assert await other._round() == 1
    assert follower.keys == stuck.keys == [f"{job_id}:done"]
    assert follower.sent[0].content() == stuck.sent[0].content()
    assert await other.counts() == {"waiting": 0, "delivered": 1, "given_up": 0}


# -- again, and no more ----------------------------------------------------------------------------------


async def test_it_is_sent_again_after_pauses_until_it_arrives(store: SqlJobStore, records: Database) -> None:
    ended(store)
    notices, sender = (
        Notices(records),
        Sender(WebhookAttempt("down"), WebhookAttempt("down"), WebhookAttempt()),
    )
    server = notifier(notices, sender)
    rounds = []
    for moment in (0, 9_999, 10_000, 29_999, 30_000, 10_000_000):
        notices.now = NOW_MS + moment
        rounds.append(await server._round())
    assert rounds == [1, 0, 1, 0, 1, 0]
    assert len(set(sender.keys)) == 1
    assert await server.counts() == {"waiting": 0, "delivered": 1, "given_up": 0}


async def test_giving_up_is_said(
    store: SqlJobStore, records: Database, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = ended(store)
    notices, sender = Notices(records), Sender(WebhookAttempt("it answered with status 500"))
    server = notifier(notices, sender)
    with caplog.at_level(logging.WARNING, "jesse_mcp.jobs"):
        for _ in range(MAX_ATTEMPTS + 2):
            await server._round()
            notices.now += 1_800_000
    assert len(sender.sent) == MAX_ATTEMPTS
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    (message,) = [record.getMessage() for record in said]
    assert message.startswith(f"the webhook was not told of {job_id} and will not be, after 10 attempts: ")
    assert message.endswith("it answered with status 500")
    assert URL not in caplog.text
    assert await server.counts() == {"waiting": 0, "delivered": 0, "given_up": 1}


async def test_old_news_is_given_up_without_being_sent(
    store: SqlJobStore, records: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ended(store)
    notices, sender = Notices(records), Sender()
    notices.now += OLDEST_MS + 1
    server = notifier(notices, sender)
    assert await server._round() == 1
    assert sender.sent == []
    assert "within 7 days" in caplog.text
    assert await server.counts() == {"waiting": 0, "delivered": 0, "given_up": 1}


async def test_what_is_due_at_the_end_of_a_server_is_sent_by_it(
    store: SqlJobStore, records: Database
) -> None:
    sender = Sender()
    server = JobNotifier(Notices(records), sender, URL, beat_seconds=60, last_seconds=60)
    await server.start()
    await until(lambda: server._sending is not None)
    job_id = ended(store, JobState.LOST, error={"code": "job_lost"})
    await server.close()
    assert sender.keys == [f"{job_id}:lost"]
    await server.close()


async def test_a_receiver_that_hangs_does_not_hold_up_the_end(store: SqlJobStore, records: Database) -> None:
    ended(store)
    sender = Sender()
    sender.free.clear()
    server = notifier(Notices(records), sender, last_seconds=0.01)
    await server.start()
    await until(lambda: len(sender.sent) == 1)
    async with asyncio.timeout(30):
        await server.close()
    assert (await server.counts())["waiting"] == 1


# -- before anything is sent -----------------------------------------------------------------------------


async def test_a_webhook_that_cannot_be_used_is_refused_at_the_start(records: Database) -> None:
    sender = Sender()
    sender.refusal = ResearchError(
        ErrorCode.INVALID_ARGUMENT, "webhook cannot be used: inside", hint="outside"
    )
    with pytest.raises(ResearchError) as caught:
        await notifier(Notices(records), sender).start()
    assert caught.value.message == "JESSE_MCP_JOBS_WEBHOOK: webhook cannot be used: inside"
    assert caught.value.hint == "outside"


async def test_a_name_that_nobody_knows_now_is_tried_later(
    store: SqlJobStore, records: Database, caplog: pytest.LogCaptureFixture
) -> None:
    sender = Sender()
    unknown = ResearchError(ErrorCode.INVALID_ARGUMENT, "not now", details={"reason": "unknown_host"})
    sender.refusal = unknown
    server = notifier(Notices(records), sender)
    await server.start()
    assert "it is tried again" in caplog.text
    ended(store)
    await until(lambda: len(sender.sent) == 1)
    await server.close()


async def test_without_the_setting_nothing_is_done(store: SqlJobStore, records: Database) -> None:
    ended(store)
    sender = Sender()
    server = JobNotifier(Notices(records), sender, None)
    await server.start()
    await server.close()
    assert sender.sent == []


async def test_records_that_are_away_are_waited_for(
    store: SqlJobStore, records: Database, caplog: pytest.LogCaptureFixture
) -> None:
    class Away(Notices):
        away = True

        def claim(self, now: int, until: int, limit: int) -> list[JobNotice]:
            if self.away:
                raise ResearchError(ErrorCode.STORAGE_FAILED, "away", hint="wait")
            return super().claim(now, until, limit)

    ended(store)
    notices, sender = Away(records), Sender()
    server = notifier(notices, sender)
    await server.start()
    await until(lambda: "away" in caplog.text)
    notices.away = False
    await until(lambda: len(sender.sent) == 1)
    await server.close()


def test_the_address_becomes_stars_whole_and_by_its_path() -> None:
    address = "https://hooks.example/services/sentinel-1?token=sentinel-2"
    given = Settings(jobs_webhook=SecretStr(address), webhook_secret=SecretStr("x" * 16))
    mask = SecretMask(secrets_of(given))
    for text in (f"POST {address}", "POST https://192.0.2.1:443/services/sentinel-1?token=sentinel-2 200"):
        assert "sentinel" not in mask(text)
    assert "sentinel" not in repr(Delivery(webhook=address))


def test_the_clock_is_shared(records: Database) -> None:
    first = SqlJobNotices(records).now_ms()
    assert first > NOW_MS
    assert SqlJobNotices(records).now_ms() >= first
