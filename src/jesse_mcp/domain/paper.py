"""Paper sessions: what one is started with, what it does minute by minute, and how it stands."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from jesse_mcp.domain.backtests import (
    BacktestRequest,
    DataRoute,
    ExchangeType,
    HyperparameterValue,
    LeverageMode,
    Route,
    Trade,
)
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.timeframes import DAY_MS, MINUTE_MS, timeframe_minutes

FeedName = Literal["exchange", "replay"]
#: In which of Jesse's two simulators' order a minute is worked through: see ``PaperRequest.minute_order``.
MinuteOrder = Literal["dense", "observed"]
#: The most minutes one step takes; its answer is as long.
STEP_MINUTES = 1_440


def minute_order_of(
    feed: FeedName, start_ms: int, timeframes: Iterable[str], *, complete: bool
) -> MinuteOrder:
    """The ``PaperRequest.minute_order`` with which a session does what it should.

    A replay does what the backtest of the same days does, which works in ``"dense"`` order when no minute is
    missing. A live session has the hours of its exchange: Jesse counts candles from the start in ``"dense"``
    order, which is by the clock only where a candle of every timeframe begins at the start.

    Args:
        start_ms: first minute traded, epoch milliseconds.
        timeframes: of the routes and data routes.
        complete: no minute is known to be missing in any series; of a live session nothing is known.

    Raises:
        ResearchError: ``invalid_argument`` for a timeframe Jesse does not have.
    """
    on_the_clock = all(start_ms % (timeframe_minutes(one) * MINUTE_MS) == 0 for one in timeframes)
    as_the_backtest = feed == "replay" and start_ms % DAY_MS == 0
    return "dense" if complete and (on_the_clock or as_the_backtest) else "observed"


class PaperStatus(StrEnum):
    """``finished``: its replay has come to the end; ``failed``: its strategy raised, or it cannot go on."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def active(self) -> bool:
        return self in (PaperStatus.STARTING, PaperStatus.RUNNING)


class PaperRequest(Value):
    """A session with every default filled in. Times are epoch milliseconds.

    ``start_ms`` is the first minute traded; ``end_ms`` is exclusive and ``None`` for one without an end.
    """

    exchange: str
    exchange_type: ExchangeType
    routes: tuple[Route, ...]
    data_routes: tuple[DataRoute, ...] = ()
    start_ms: int
    end_ms: int | None
    starting_balance: float
    fee: float
    leverage: int = 1
    leverage_mode: LeverageMode = "cross"
    hyperparameters: dict[str, HyperparameterValue] = Field(default_factory=dict)
    warm_up_candles: int
    feed: FeedName
    speed: float | None = Field(
        default=None, description="simulated minutes a minute of a replay; null is as fast as it goes"
    )
    minute_order: MinuteOrder = Field(
        default="dense",
        description="'observed' when minutes are known to be missing: a backtest of them uses that order",
    )

    @property
    def series(self) -> tuple[SeriesKey, ...]:
        """Every series of the session, those traded first, each once; rows of a minute are by this order."""
        traded = [SeriesKey(exchange=self.exchange, symbol=route.symbol) for route in self.routes]
        read = [SeriesKey(exchange=d.exchange or self.exchange, symbol=d.symbol) for d in self.data_routes]
        return tuple(dict.fromkeys([*traded, *read]))

    def as_backtest(self, end_ms: int) -> BacktestRequest:
        """The backtest over the same minutes.

        Args:
            end_ms: exclusive, epoch milliseconds.
        """
        same = self.model_dump(exclude={"feed", "speed", "minute_order", "end_ms"})
        return BacktestRequest.model_validate(
            {
                **same,
                "end_ms": end_ms,
                "fast_mode": False,
                "gaps": "observed" if self.minute_order == "observed" else "refuse",
            }
        )


class Minute(Value):
    """One minute of the market: when it begins, and the candle of each series that has one.

    ``rows`` maps the place in ``PaperRequest.series`` to ``(open, close, high, low, volume)``.
    """

    timestamp: int
    rows: dict[int, tuple[float, float, float, float, float]]

    @property
    def closes_at(self) -> int:
        return self.timestamp + MINUTE_MS


class PaperOrder(Value):
    """Something that happened to an order. ``number`` counts the orders of a session in the order they were
    submitted, so it is the same whenever the session is worked through again."""

    timestamp: int
    number: int
    event: Literal["submitted", "executed", "cancelled", "rejected"]
    symbol: str
    side: str
    type: str
    qty: float = Field(
        description="in units of the base currency, always positive; of one executed, what was"
    )
    price: float | None
    reduce_only: bool


class PaperPosition(Value):
    """An open position; money in the quote currency."""

    symbol: str
    side: Literal["long", "short"]
    size: float = Field(description="in units of the base currency, always positive")
    entry_price: float
    current_price: float
    unrealized_pnl: float
    leverage: float
    liquidation_price: float | None
    opened_at: int


class PaperEquity(Value):
    """At the close of a minute. ``equity`` is the balance with every open position at its current price."""

    timestamp: int = Field(description="the minute's close, epoch milliseconds")
    equity: float
    unrealized_pnl: float


class PaperStep(Value):
    """What came of some minutes. What is listed is new since the step before."""

    minutes: int = Field(description="worked through; fewer than were given only when the strategy raised")
    trades: tuple[Trade, ...] = ()
    orders: tuple[PaperOrder, ...] = ()
    equity: tuple[PaperEquity, ...] = Field(
        default=(), description="one for each minute, and for the one in which the strategy raised"
    )
    daily: tuple[tuple[int, float], ...] = Field(
        default=(), description="Jesse's daily balances, (epoch milliseconds, balance)"
    )
    positions: tuple[PaperPosition, ...] = Field(default=(), description="as they are at the end")
    open_orders: tuple[PaperOrder, ...] = Field(default=(), description="as they are at the end")
    leverage: int | None = Field(default=None, description="in force at the end; null on spot")
    leverage_changes: tuple[tuple[int, int], ...] = Field(
        default=(), description="that had to wait and came into force, (epoch milliseconds, leverage)"
    )
    log: str = Field(default="", description="new lines the strategies logged")
    error: dict[str, Any] | None = Field(
        default=None, description="a ResearchError as one object, when the strategy raised"
    )
    seconds: float = Field(default=0.0, description="CPU time it took")
