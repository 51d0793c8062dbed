"""Which alerts are sent when, and when it is given up."""

import asyncio

from jesse_mcp.domain.paper_records import AlertDelivery
from jesse_mcp.ports.paper_store import PaperStore
from jesse_mcp.ports.webhooks import WebhookAttempt, WebhookSender
from jesse_mcp.services.clock import Clock

#: With the pauses below, the last one is an hour and a quarter after the first.
MAX_ATTEMPTS = 10
_FIRST_PAUSE_MS = 10_000
_LONGEST_PAUSE_MS = 1_800_000
#: Alerts sent at a time; more wait for the next round.
_BATCH = 20


def attempted(delivery: AlertDelivery, attempt: WebhookAttempt, now: int) -> AlertDelivery:
    """``delivery`` after an attempt at ``now`` (epoch ms).

    The next one is due after 10 seconds, then twice as long each time, up to half an hour; none after ten.
    """
    attempts = delivery.attempts + 1
    over = attempt.failure is None or attempt.final or attempts >= MAX_ATTEMPTS
    pause = min(_FIRST_PAUSE_MS * 2 ** (attempts - 1), _LONGEST_PAUSE_MS)
    return delivery.model_copy(
        update={
            "attempts": attempts,
            "next_attempt_at": None if over else now + pause,
            "delivered_at": now if attempt.failure is None else None,
            "failure": attempt.failure,
        }
    )


async def deliver_due(store: PaperStore, sender: WebhookSender, owner: str, clock: Clock) -> int:
    """Send what is due of this owner's sessions, and note how it went; how many alerts that were.

    An attempt whose note is lost with this process is made again: receivers tell by its key.

    Raises:
        ResearchError: ``storage_failed``.
    """
    due = await asyncio.to_thread(store.due, owner, clock.now_ms(), _BATCH)
    await asyncio.gather(*(_deliver(store, sender, delivery, clock) for delivery in due))
    return len(due)


async def _deliver(store: PaperStore, sender: WebhookSender, delivery: AlertDelivery, clock: Clock) -> None:
    attempt = await sender.send(delivery)
    await asyncio.to_thread(store.delivery, attempted(delivery, attempt, clock.now_ms()))
