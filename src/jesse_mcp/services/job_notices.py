"""Tells a webhook of every job that has ended."""

import asyncio
import logging
from contextlib import suppress

from jesse_mcp.domain.deliveries import JobNotice, NoticeState
from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.ports.job_notices import JobNotices
from jesse_mcp.ports.webhooks import WebhookAttempt, WebhookSender
from jesse_mcp.services.webhook_attempts import attempted

logger = logging.getLogger("jesse_mcp.jobs")

#: Sent at a time; more wait for the next round.
_BATCH = 20
#: Longer than an attempt takes: then whoever claimed a notice is dead, and another server follows.
CLAIM_MS = 60_000
#: Ends that nobody could be told of for so long, because no server with the setting ran, are old news.
OLDEST_MS = 7 * 24 * 3_600_000


class JobNotifier:
    """Sends what the store of jobs has noted, beside the jobs and never in their way.

    Args:
        notices: what is to be sent, shared with other servers.
        sender: signs and sends.
        webhook: where to; ``None``: nowhere, and nothing is done.
        beat_seconds: between two looks.
        last_seconds: how long :meth:`close` may take for what is due then.
    """

    def __init__(
        self,
        notices: JobNotices,
        sender: WebhookSender,
        webhook: str | None,
        *,
        beat_seconds: float = 1.0,
        last_seconds: float = 3.0,
    ) -> None:
        self._notices = notices
        self._sender = sender
        self._webhook = webhook
        self._beat_seconds = beat_seconds
        self._last_seconds = last_seconds
        self._closing = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Send from now on until :meth:`close`.

        Raises:
            ResearchError: ``invalid_argument`` or ``capability_missing`` for a webhook that cannot be used.
                One whose name nobody knows now is tried again.
        """
        if self._webhook is None or self._sending is not None:
            return
        try:
            await self._sender.check(self._webhook)
        except ResearchError as error:
            message = f"JESSE_MCP_JOBS_WEBHOOK: {error.message}"
            if error.details.get("reason") != "unknown_host":
                raise ResearchError(error.code, message, hint=error.hint) from error
            logger.warning("%s; it is tried again", message)
        self._sending = asyncio.create_task(self._keep_sending(), name="webhook of jobs")

    async def close(self) -> None:
        """Send what is due, for a few seconds, and leave the rest to others. Idempotent."""
        sending, self._sending = self._sending, None
        if sending is None:
            return
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._last_seconds):
                await sending
                # Jobs that were lost with this server are told of by itself, if the receiver is quick.
                await self._round()

    async def counts(self) -> dict[NoticeState, int]:
        """By what became of them.

        Raises:
            ResearchError: ``storage_failed``.
        """
        return await asyncio.to_thread(self._notices.counts)

    async def _keep_sending(self) -> None:
        while not self._closing.is_set():
            if await self._round():
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._beat_seconds):
                    await self._closing.wait()

    async def _round(self) -> int:
        """Send what is due; how many that were."""
        try:
            now = await asyncio.to_thread(self._notices.now_ms)
            claimed = await asyncio.to_thread(self._notices.claim, now, now + CLAIM_MS, _BATCH)
            await asyncio.gather(*(self._deliver(notice, now) for notice in claimed))
        except ResearchError as error:
            logger.warning("the webhook of jobs waits: %s", error)
            return 0
        except Exception:
            logger.exception("the webhook of jobs failed; it is tried again")
            return 0
        return len(claimed)

    async def _deliver(self, notice: JobNotice, now: int) -> None:
        if now - notice.noticed_at > OLDEST_MS:
            days = OLDEST_MS // 86_400_000
            attempt = WebhookAttempt(f"nobody could be told within {days} days", final=True)
            after = notice.model_copy(update={"next_attempt_at": None, "failure": attempt.failure})
        else:
            attempt = await self._sender.send(notice.model_copy(update={"webhook": self._webhook}))
            after = attempted(notice, attempt, await asyncio.to_thread(self._notices.now_ms))
        noted = await asyncio.to_thread(self._notices.note, notice, after)
        if noted and attempt.failure is not None:
            self._report(after)

    def _report(self, notice: JobNotice) -> None:
        about = (notice.job_id, notice.attempts, notice.failure)
        extra = {"job_id": notice.job_id, "run_id": notice.run_id}
        if notice.next_attempt_at is None:
            logger.error(
                "the webhook was not told of %s and will not be, after %d attempts: %s", *about, extra=extra
            )
        else:
            logger.warning("the webhook was not told of %s at attempt %d: %s", *about, extra=extra)
