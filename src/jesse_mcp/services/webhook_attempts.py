"""When something is sent to a webhook again, and when it is given up."""

from typing import TypeVar

from jesse_mcp.domain.deliveries import Delivery
from jesse_mcp.ports.webhooks import WebhookAttempt

#: With the pauses below, the last one is an hour and a quarter after the first.
MAX_ATTEMPTS = 10
_FIRST_PAUSE_MS = 10_000
_LONGEST_PAUSE_MS = 1_800_000

D = TypeVar("D", bound=Delivery)


def attempted(delivery: D, attempt: WebhookAttempt, now: int) -> D:
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
