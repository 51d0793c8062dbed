"""The time of this machine, as something that can be handed over."""

import asyncio
import time


class Clock:
    """Real time. Whoever needs another kind overrides both methods together."""

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return int(time.time() * 1000)

    async def sleep(self, seconds: float) -> None:
        """Return when ``seconds`` of this clock have passed; at once, but not without a switch of tasks, for
        zero or less."""
        await asyncio.sleep(max(0.0, seconds))
