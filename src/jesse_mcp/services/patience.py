"""Work that took long is not thrown away because the records database is being restarted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from jesse_mcp.domain.errors import ResearchError

T = TypeVar("T")

#: Seconds a database may be away.
PATIENCE = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0


async def patiently(call: Callable[[], Awaitable[T]], seconds: float = PATIENCE) -> T:
    """The result of a call, which is repeated while the records database cannot be reached.

    For the work of jobs: whoever waits for an answer is told at once.

    Args:
        call: may be made again when it failed.
        seconds: from the first failure on.

    Raises:
        ResearchError: what else it raises, and that the database is still away.
    """
    loop = asyncio.get_running_loop()
    deadline, pause = None, _FIRST_PAUSE
    while True:
        try:
            return await call()
        except ResearchError as error:
            deadline = deadline or loop.time() + seconds
            if not error.away or loop.time() + pause > deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
