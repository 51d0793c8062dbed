"""Which runs two engines must agree on to the last bit, and the candles they read."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jesse_mcp.domain.backtests import (
    BacktestRequest,
    CandleSlice,
    DataRoute,
    ExchangeType,
    HyperparameterValue,
    LeverageMode,
    Route,
)
from jesse_mcp.domain.candles import CandleArray
from jesse_mcp.services.candle_slices import warm_up_start

HERE = Path(__file__).parent / "integration"
REPOSITORY = HERE.parents[1]
BUNDLED = REPOSITORY / "src" / "jesse_mcp" / "adapters" / "strategies" / "bundled"
REAL_CANDLES = REPOSITORY.parent / "shared" / "data" / "binance_1m"

MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS
FIRST_MS = 1_672_531_200_000
WARM_UP_CANDLES = 80
WARM_UP_DAYS = 14
DAYS = 32

Setup = tuple[str, ExchangeType, int, LeverageMode]

TIMEFRAMES = {
    "TrendFollowing": "30m",
    "DonchianBreakout": "1h",
    "MeanReversion": "30m",
    "SharedRotation": "1h",
    "LadderEntries": "2h",
}
OVERRIDES: dict[str, dict[str, HyperparameterValue]] = {
    "TrendFollowing": {"fast_period": 10, "atr_multiple": 2.0},
    "DonchianBreakout": {"period": 20, "reward": 1.5},
    "MeanReversion": {"width": 1.5, "rsi_limit": 40},
    "SharedRotation": {"fast": 5},
    "LadderEntries": {"step": 0.8, "with_market": False, "patience": 2},
}
SETUPS: tuple[Setup, ...] = (
    ("Binance Spot", "spot", 1, "cross"),
    ("Binance Perpetual Futures", "futures", 1, "cross"),
    ("Bybit USDT Perpetual", "futures", 1, "isolated"),
    ("Binance Perpetual Futures", "futures", 3, "cross"),
    ("Bybit USDT Perpetual", "futures", 3, "isolated"),
)


@dataclass(frozen=True)
class Case:
    strategy: str
    setup: Setup
    fast_mode: bool
    extra_data: bool
    overrides: bool

    @property
    def name(self) -> str:
        exchange_type, leverage, mode = self.setup[1:]
        market = exchange_type if exchange_type == "spot" else f"{leverage}x-{mode}"
        return "-".join(
            [
                self.strategy,
                market,
                "fast" if self.fast_mode else "step",
                "more-data" if self.extra_data else "own-data",
                "overrides" if self.overrides else "defaults",
            ]
        )


def covering_cases() -> list[Case]:
    """Every pair of values of any two dimensions, in as many cases as the two largest need."""
    return [
        Case(
            strategy,
            SETUPS[s],
            fast_mode=(n + s) % 2 == 0,
            extra_data=(n + 2 * s) % 5 in (0, 1, 3),
            overrides=(2 * n + s) % 5 in (1, 2),
        )
        for (n, strategy), s in itertools.product(enumerate(TIMEFRAMES), range(len(SETUPS)))
    ]


def request_of(case: Case, days: int = DAYS) -> BacktestRequest:
    exchange, exchange_type, leverage, mode = case.setup
    timeframe = TIMEFRAMES[case.strategy]
    routes = [Route(strategy=case.strategy, symbol="BTC-USDT", timeframe=timeframe)]
    data_routes = []
    if case.strategy == "SharedRotation":
        routes.append(Route(strategy=case.strategy, symbol="ETH-USDT", timeframe=timeframe))
        data_routes += [
            DataRoute(symbol="BTC-USDT", timeframe="4h"),
            DataRoute(symbol="ETH-USDT", timeframe="4h"),
            DataRoute(symbol="SOL-USDT", timeframe="30m"),
        ]
    if case.extra_data:
        data_routes += [
            DataRoute(symbol="SOL-USDT", timeframe="2h"),
            DataRoute(symbol="BTC-USDT", timeframe="5m"),
        ]
    start = FIRST_MS + WARM_UP_DAYS * DAY_MS
    return BacktestRequest(
        exchange=exchange,
        exchange_type=exchange_type,
        routes=tuple(routes),
        data_routes=tuple(data_routes),
        start_ms=start,
        end_ms=start + days * DAY_MS,
        starting_balance=10_000.0,
        fee=0.001 if exchange_type == "spot" else 0.0005,
        leverage=leverage,
        leverage_mode=mode,
        hyperparameters=OVERRIDES[case.strategy] if case.overrides else {},
        warm_up_candles=WARM_UP_CANDLES,
        fast_mode=case.fast_mode,
    )


class Candles:
    """Raw candle files in a folder, and the slices of them that a request reads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, symbol: str, rows: CandleArray) -> None:
        rows.astype("<f8").tofile(self._path(symbol))

    def slices(self, request: BacktestRequest) -> tuple[CandleSlice, ...]:
        first_ms = warm_up_start(request)
        symbols = [route.symbol for route in request.routes]
        symbols += [route.symbol for route in request.data_routes]
        return tuple(self._slice(request, symbol, first_ms) for symbol in dict.fromkeys(symbols))

    def _slice(self, request: BacktestRequest, symbol: str, first_ms: int) -> CandleSlice:
        times = np.fromfile(self._path(symbol)).reshape(-1, 6)[:, 0]
        first, trading, end = np.searchsorted(times, [first_ms, request.start_ms, request.end_ms])
        return CandleSlice(
            exchange=request.exchange,
            symbol=symbol,
            path=str(self._path(symbol)),
            total_rows=len(times),
            start_row=int(first),
            trading_row=int(trading),
            end_row=int(end),
            content_hash=symbol,
        )

    def _path(self, symbol: str) -> Path:
        return self._folder / f"{symbol}.f64"
