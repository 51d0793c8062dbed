"""Long computations in a thread, which ends when the job they belong to does."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Raises once the result is no longer wanted; to be called again and again.
Checkpoint = Callable[[], None]


async def stoppable(work: Callable[[Checkpoint], T]) -> T:
    """What ``work`` returns, done in a thread.

    When the caller is cancelled, the next checkpoint raises ``InterruptedError`` in the thread, and the
    cancellation goes on when the thread has ended: nothing computes for a job that is over.
    """
    stop = threading.Event()

    def checkpoint() -> None:
        if stop.is_set():
            raise InterruptedError

    thread = asyncio.ensure_future(asyncio.to_thread(work, checkpoint))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.gather(thread, return_exceptions=True)
        raise
