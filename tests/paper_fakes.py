"""An engine and a feed for paper sessions that do what they are told."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from jesse_mcp.domain.backtests import EngineOutcome, EquityPoint, Route, Trade
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import Minute, PaperEquity, PaperOrder, PaperRequest, PaperStep
from jesse_mcp.ports.paper import FeedBatch, FeedNote, PaperSetup

MINUTE = 60_000
START = 1_704_067_200_000
REQUEST = PaperRequest(
    exchange="Binance Perpetual Futures",
    exchange_type="futures",
    routes=(Route(strategy="Mine", symbol="BTC-USDT", timeframe="1m"),),
    start_ms=START,
    end_ms=START + 100 * MINUTE,
    starting_balance=1000.0,
    fee=0.0,
    warm_up_candles=0,
    feed="replay",
)


def minutes(first: int, count: int) -> tuple[Minute, ...]:
    """Closes rise and fall, so that the order and every single one of them matters."""
    return tuple(
        Minute(timestamp=START + k * MINUTE, rows={0: (1.0, 1.0 + (k * 7 % 11), 12.0, 1.0, 1.0)})
        for k in range(first, first + count)
    )


def crashed() -> ResearchError:
    return ResearchError(ErrorCode.WORKER_CRASHED, "it was killed", hint="look")


@dataclass
class Process:
    """Counts closes times leverage as equity, and closes a trade every fifth minute.

    A leverage of 13 is refused, and one of 11 waits for the next minute.

    What it is does not depend on how its minutes are cut into steps.
    """

    engine: "Engine"
    balance: float = 1000.0
    leverage: int = 1
    waiting: int | None = None
    worked: int = 0
    trades: list[Trade] = field(default_factory=list)
    closed: bool = False

    async def step(self, given: Sequence[Minute]) -> PaperStep:
        await asyncio.sleep(0)
        equity, trades, orders, error = [], [], [], None
        daily = [(START, 1000.0)] if self.worked == 0 else []
        changes: tuple[tuple[int, int], ...] = ()
        if self.waiting is not None and given:
            self.leverage, self.waiting = self.waiting, None
            changes = ((given[0].closes_at, self.leverage),)
        for minute in given:
            fault = self.engine.faults(minute, self)
            if fault is not None and fault.code is not ErrorCode.STRATEGY_RAISED:
                raise fault
            if fault is not None:
                error = fault.to_dict()
                break
            self.worked += 1
            self.balance += (minute.rows[0][1] - 6.0) * self.leverage
            equity.append(PaperEquity(timestamp=minute.closes_at, equity=self.balance, unrealized_pnl=1.0))
            if self.worked % 5 == 0:
                orders.append(_order(len(self.trades), minute.closes_at))
                trades.append(_trade(minute.closes_at, self.balance))
                self.trades.append(trades[-1])
        self.engine.worked += len(equity)
        return PaperStep(
            minutes=len(equity),
            equity=tuple(equity),
            trades=tuple(trades),
            orders=tuple(orders),
            daily=tuple(daily),
            error=error,
            log=f"{len(equity)} minutes",
            leverage=self.leverage,
            leverage_changes=changes,
        )

    async def set_leverage(self, leverage: int) -> bool:
        if leverage == 13:
            raise ResearchError(ErrorCode.INVALID_ARGUMENT, "no leverage of 13", hint="another")
        if leverage == 11:
            self.waiting = leverage
            return False
        self.leverage = leverage
        return True

    async def finish(self) -> EngineOutcome:
        if self.engine.end_fault is not None:
            raise self.engine.end_fault
        last = _trade(START, self.balance)
        return EngineOutcome(
            metrics={"total": len(self.trades) + 1},
            undefined={},
            trades=(*self.trades, last),
            equity=(
                EquityPoint(timestamp=START, balance=1000.0),
                EquityPoint(timestamp=START + 1, balance=self.balance - 1),
            ),
            hyperparameters={},
            engine={"jesse": "fake"},
        )

    async def close(self) -> None:
        self.closed = True


@dataclass
class Engine:
    """``faults`` says what goes wrong at a minute; ``open_faults`` are raised by the next openings."""

    faults: Callable[[Minute, Process], ResearchError | None] = lambda _minute, _process: None
    open_faults: list[ResearchError] = field(default_factory=list)
    end_fault: ResearchError | None = None
    opened: list[Process] = field(default_factory=list)
    worked: int = 0

    async def open(self, _setup: PaperSetup) -> Process:
        if self.open_faults:
            raise self.open_faults.pop(0)
        self.opened.append(Process(self))
        return self.opened[-1]


class Feed:
    """Gives what is put in, and from the minute that is asked for."""

    def __init__(self, *batches: FeedBatch) -> None:
        self.batches_given = list(batches)
        self.more = asyncio.Event()
        self.fault: ResearchError | None = None
        self.asked: list[int] = []
        self.open = 0

    def give(self, *given: Minute, ended: bool = False, notes: tuple[FeedNote, ...] = ()) -> None:
        through = given[-1].closes_at if given else 0
        batch = FeedBatch(minutes=given, notes=notes, received_at=START, through=through, ended=ended)
        self.batches_given.append(batch)
        self.more.set()

    def fail(self, error: ResearchError) -> None:
        self.fault = error
        self.more.set()

    async def batches(self, _request: PaperRequest, from_ms: int) -> AsyncGenerator[FeedBatch, None]:
        self.asked.append(from_ms)
        self.open += 1
        at = 0
        try:
            while True:
                while at == len(self.batches_given):
                    if self.fault is not None:
                        raise self.fault
                    self.more.clear()
                    await self.more.wait()
                batch = self.batches_given[at]
                at += 1
                kept = tuple(minute for minute in batch.minutes if minute.timestamp >= from_ms)
                if kept or batch.notes or batch.ended:
                    yield FeedBatch(kept, batch.notes, batch.received_at, batch.through, batch.ended)
        finally:
            self.open -= 1


def _trade(closed_at: int, price: float) -> Trade:
    return Trade(
        strategy="Mine",
        exchange="Binance Perpetual Futures",
        symbol="BTC-USDT",
        type="long",
        opened_at=START,
        closed_at=closed_at,
        entry_price=1.0,
        exit_price=price,
        qty=1.0,
        size=1.0,
        fee=0.0,
        pnl=price - 1,
        pnl_percentage=5.0,
        holding_period=60.0,
    )


def _order(number: int, timestamp: int) -> PaperOrder:
    return PaperOrder(
        timestamp=timestamp,
        number=number,
        event="executed",
        symbol="BTC-USDT",
        side="sell",
        type="MARKET",
        qty=1.0,
        price=1.0,
        reduce_only=True,
    )
