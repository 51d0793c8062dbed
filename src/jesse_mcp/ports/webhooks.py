"""Alerts to an address of the user's choice."""

from dataclasses import dataclass
from typing import Protocol

from jesse_mcp.domain.paper_records import AlertDelivery


@dataclass(frozen=True)
class WebhookAttempt:
    """How one attempt went.

    Attributes:
        failure: why it was not taken; ``None`` when it was.
        final: whether a further attempt cannot help.
    """

    failure: str | None = None
    final: bool = False


class WebhookSender(Protocol):
    """Sends one alert once. Never raises for what a receiver does."""

    async def check(self, url: str) -> None:
        """Whether alerts may be sent there, before any is.

        Raises:
            ResearchError: ``invalid_argument`` for an address that is none or is not allowed;
                ``capability_missing`` while there is no secret to sign with.
        """
        ...

    async def send(self, delivery: AlertDelivery) -> WebhookAttempt:
        """Send an alert to the webhook of its session."""
        ...
