"""Spans: what was done, for how long, and what it belongs to. Never with which arguments."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Span(Protocol):
    """One call or one job, while it lasts."""

    def tell(self, failure: str | None, **facts: str | None) -> None:
        """What came of it.

        Args:
            failure: the code of the error; ``None`` when it went well.
            facts: short values to search by; ``None`` is left out.
        """
        ...


class Traces(Protocol):
    """Where spans go. Nothing here blocks or raises."""

    def call(self, tool: str) -> AbstractContextManager[Span]:
        """A call of a tool, by whom the caller's trace says, if it says so."""
        ...

    def job(self, kind: str) -> AbstractContextManager[Span]:
        """A job, linked to the call it is begun in."""
        ...

    async def close(self) -> None:
        """Send what is left, for a few seconds at most. Idempotent."""
        ...


class _NoSpan:
    def tell(self, failure: str | None, **facts: str | None) -> None:
        """Nobody listens."""


class NoTraces:
    """Nobody asked for spans: there are none."""

    _span = nullcontext(_NoSpan())

    def call(self, tool: str) -> AbstractContextManager[Span]:  # noqa: ARG002
        return self._span

    def job(self, kind: str) -> AbstractContextManager[Span]:  # noqa: ARG002
        return self._span

    async def close(self) -> None:
        """Nothing is left."""
