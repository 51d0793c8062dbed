"""Alerts and ends of jobs to an address of the user's choice."""

from dataclasses import dataclass
from typing import Protocol

from jesse_mcp.domain.deliveries import Delivery


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
    """Sends one thing once. Never raises for what a receiver does."""

    async def check(self, url: str) -> None:
        """Whether anything may be sent there, before it is.

        Raises:
            ResearchError: ``invalid_argument`` for an address that is none, is not allowed, or has a name
                nobody knows now (``details.reason`` is ``unknown_host``); ``capability_missing`` while there
                is no secret to sign with.
        """
        ...

    async def send(self, delivery: Delivery) -> WebhookAttempt:
        """Send it to its webhook."""
        ...
