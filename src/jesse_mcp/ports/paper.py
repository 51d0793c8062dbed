"""What works through the minutes of a paper session, and where they come from."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from jesse_mcp.domain.backtests import EngineOutcome
from jesse_mcp.domain.candles import CandleArray
from jesse_mcp.domain.paper import Minute, PaperRequest, PaperStep


@dataclass(frozen=True)
class PaperSetup:
    """A session with its code and warm-up candles pinned.

    Attributes:
        source: project files by relative POSIX path.
        warm_up: of each series, in the order of ``request.series``, shape (n, 6); those before
            ``request.start_ms``.
    """

    request: PaperRequest
    source: dict[str, str]
    warm_up: tuple[CandleArray, ...]


class PaperProcess(Protocol):
    """One session at work in a process of its own. Equal minutes and changes give equal answers.

    Every method raises ``worker_crashed`` or ``memory_limit`` when the process is gone; nothing can be asked
    of it afterwards.
    """

    async def step(self, minutes: Sequence[Minute]) -> PaperStep:
        """Work through minutes, oldest first, each later than those before; at most ``STEP_MINUTES``.

        A strategy that raises ends the session: the step says so and no further one is taken. What happened
        in the minute in which it raised is part of the step, with its equity as it was left.

        Raises:
            ResearchError: ``invalid_argument`` for minutes that cannot be; ``run_timeout`` when it takes too
                long, after which nothing can be asked.
        """
        ...

    async def set_leverage(self, leverage: int) -> bool:
        """Use this leverage for positions opened from now on.

        Jesse has one leverage for the account. With a position open, or with resting orders that would need
        more than the balance, it comes into force as soon as that is over: when a position closes, before the
        strategy hears of it, or before strategies decide at the close of a minute. The step says when.

        Returns:
            Whether it is in force already.

        Raises:
            ResearchError: ``invalid_argument`` on spot.
        """
        ...

    async def finish(self) -> EngineOutcome:
        """Do what Jesse does at the end of a backtest, closing open positions at the current price, and
        answer as a backtest of these minutes does. No step can follow."""
        ...

    async def close(self) -> None:
        """Kill the process and whatever it started. Idempotent."""
        ...


class PaperEngine(Protocol):
    """Starts sessions."""

    async def open(self, setup: PaperSetup) -> PaperProcess:
        """A process that has loaded the strategies and the warm-up.

        Raises:
            ResearchError: ``strategy_raised``, ``run_rejected``, ``engine_not_installed``, ``engine_failed``.
        """
        ...


@dataclass(frozen=True)
class FeedNote:
    """Something about a feed a person should know.

    Attributes:
        kind: ``missing`` (a minute will not come), ``late`` (it came after it was given up), ``duplicate``,
            ``outage`` (nobody answers), ``recovered``, ``clock`` (this machine's clock is off), ``invalid``
            (what came was no candle), ``storage`` (the candle store refuses, or takes candles again).
    """

    kind: str
    timestamp: int
    message: str


@dataclass(frozen=True)
class FeedBatch:
    """What a feed has: minutes, oldest first, and notes.

    Attributes:
        received_at: epoch milliseconds by this machine's clock when the last of them arrived.
        through: every minute that closes up to here (epoch milliseconds) has been given, or does not exist.
        ended: nothing will follow.
    """

    minutes: tuple[Minute, ...]
    notes: tuple[FeedNote, ...] = ()
    received_at: int = 0
    through: int = 0
    ended: bool = False


class PaperFeed(Protocol):
    """Minutes of the series of a session as they become known."""

    def batches(self, request: PaperRequest, from_ms: int) -> AsyncIterator[FeedBatch]:
        """Everything from the minute that begins at ``from_ms`` on.

        An outage does not end it: it notes that, keeps trying, and catches up. Closing the iterator ends
        every request on its way.

        Raises:
            ResearchError: ``candles_missing``, ``symbol_unknown``, ``capability_missing``: what waiting does
                not help against.
        """
        ...
