"""Work done several pieces at a time and answered in the order it was given."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
Piece = Callable[[], Awaitable[T]]


async def in_order(pieces: AsyncIterator[Piece[T]], ahead: int) -> AsyncGenerator[T, None]:
    """The result of every piece, in order, whatever the order of completion.

    Piece ``n`` is taken from ``pieces`` exactly when result ``n - ahead`` has been consumed, so a source that
    learns from results sees the same ones before each piece on every machine.

    Close it (``contextlib.aclosing``): leaving early cancels what is under way and waits for its end.

    Args:
        ahead: pieces under way at once, at least 1.

    Raises:
        Exception: of the first piece, in order, that raises.
    """
    pending: deque[asyncio.Task[T]] = deque()
    exhausted = False
    try:
        while True:
            while not exhausted and len(pending) < ahead:
                piece = await anext(pieces, None)
                if piece is None:
                    exhausted = True
                else:
                    pending.append(asyncio.create_task(_awaited(piece)))
            if not pending:
                return
            result = await pending[0]
            pending.popleft()
            yield result
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _awaited(piece: Piece[T]) -> T:
    return await piece()
