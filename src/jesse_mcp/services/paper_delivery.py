"""Which alerts are sent when."""

import asyncio

from jesse_mcp.domain.paper_records import AlertDelivery
from jesse_mcp.ports.paper_store import PaperStore
from jesse_mcp.ports.webhooks import WebhookSender
from jesse_mcp.services.clock import Clock
from jesse_mcp.services.webhook_attempts import attempted

#: Alerts sent at a time; more wait for the next round.
_BATCH = 20


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
