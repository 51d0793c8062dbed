"""What a paper session is asked for, completed, pinned, or refused before anything is begun."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.adapters.strategies.folder_store import FolderStrategyStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.services.clock import Clock
from jesse_mcp.services.paper_engines import PaperEngines
from jesse_mcp.services.paper_request import PaperArguments, PaperPlanner, PinnedPaper
from jesse_mcp.services.paper_warm_up import PaperWarmUp

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_704_067_200_000  # 2024-01-01
NOW = START + 2 * DAY + 10 * HOUR + 37 * MINUTE + 20_000
SPOT = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
STRATEGY = """
from jesse.strategies import Strategy


class Mine(Strategy):
    def should_long(self):
        return False

    def go_long(self):
        self.buy = 1, self.price
"""


@pytest.fixture
def store(tmp_path: Path) -> ParquetCandleStore:
    store = ParquetCandleStore(tmp_path / "candles")
    store.write(SPOT, synthetic_candles(START, 4 * 1440, seed=1), "test")
    return store


@pytest.fixture
def planner(tmp_path: Path, store: ParquetCandleStore) -> PaperPlanner:
    strategies = FolderStrategyStore(tmp_path)
    strategies.write("Mine", STRATEGY, overwrite=False)
    return PaperPlanner(strategies, store, load_catalog())


def asked(**more: Any) -> PaperArguments:
    return PaperArguments(**{"strategy": "Mine", "symbol": "BTC-USDT", "warm_up_candles": 5, **more})


def replay(**more: Any) -> PaperArguments:
    return asked(feed="replay", **{"replay_start": "2024-01-02", **more})


def pinned(planner: PaperPlanner, arguments: PaperArguments) -> PinnedPaper:
    return planner.pin(planner.plan(arguments, NOW).request)


@pytest.mark.parametrize(
    ("more", "exchange", "exchange_type"),
    [
        ({}, "Binance Spot", "spot"),
        ({"leverage": 2}, "Binance Perpetual Futures", "futures"),
        ({"exchange_type": "futures"}, "Binance Perpetual Futures", "futures"),
        ({"exchange": "binance perpetual futures"}, "Binance Perpetual Futures", "futures"),
        ({"exchange": "Bybit Spot"}, "Bybit Spot", "spot"),
        ({"exchange": "binance us"}, "Binance US Spot", "spot"),
    ],
)
def test_a_short_name_means_spot_unless_something_says_futures(
    planner: PaperPlanner, more: dict[str, Any], exchange: str, exchange_type: str
) -> None:
    request = planner.plan(asked(**more), NOW).request
    assert (request.exchange, request.exchange_type) == (exchange, exchange_type)


def test_a_name_that_fits_several_of_a_kind_is_not_guessed(planner: PaperPlanner) -> None:
    with pytest.raises(ResearchError, match="fits") as caught:
        planner.plan(asked(exchange="Bybit", leverage=2), NOW)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


def test_days_and_weeks_are_understood_in_small_letters(planner: PaperPlanner) -> None:
    assert planner.plan(asked(timeframe="1d"), NOW).request.routes[0].timeframe == "1D"
    assert planner.plan(asked(timeframe="1m"), NOW).request.routes[0].timeframe == "1m"
    arguments = asked(data_routes=({"symbol": "BTC-USDT", "timeframe": "1w"},))
    assert planner.plan(arguments, NOW).request.data_routes[0].timeframe == "1W"


def test_routes_are_further_ones_or_all_there_are(planner: PaperPlanner) -> None:
    eth = {"strategy": "Mine", "symbol": "eth/usdt", "timeframe": "1d"}
    both = planner.plan(asked(routes=(eth,), timeframe="4h"), NOW).request.routes
    assert [(route.symbol, route.timeframe) for route in both] == [("BTC-USDT", "4h"), ("ETH-USDT", "1D")]
    alone = planner.plan(asked(strategy=None, symbol=None, routes=(eth,)), NOW).request.routes
    assert alone == both[1:]


def test_an_id_is_made_or_taken(planner: PaperPlanner) -> None:
    made = [planner.plan(asked(), NOW).session_id for _ in range(2)]
    assert made[0] != made[1]
    assert all(name.startswith("paper_") and len(name) == 18 for name in made)
    assert planner.plan(asked(session_id="my.Session-1"), NOW).session_id == "my.Session-1"


def test_a_replay_is_of_days_or_minutes_up_to_the_last_full_day(planner: PaperPlanner) -> None:
    request = planner.plan(replay(), NOW).request
    assert (request.start_ms, request.end_ms) == (START + DAY, START + 4 * DAY)
    request = planner.plan(replay(replay_start="2024-01-02T10:37Z", replay_end="2024-01-03"), NOW).request
    assert (request.start_ms, request.end_ms) == (START + DAY + 10 * HOUR + 37 * MINUTE, START + 2 * DAY)


def test_warm_up_and_code_are_pinned(planner: PaperPlanner, store: ParquetCandleStore) -> None:
    found = pinned(planner, replay())
    (warm_up,) = found.warm_up
    assert np.array_equal(warm_up, store.read(SPOT, START + DAY - 5 * HOUR, START + DAY))
    assert found.source["strategies/Mine/__init__.py"] == STRATEGY
    assert found.request.minute_order == "dense"
    store.delete(SPOT)
    assert len(warm_up) == 300, "it is a copy"


def test_an_hour_of_a_live_session_is_one_of_the_clock(
    planner: PaperPlanner, store: ParquetCandleStore
) -> None:
    store.delete(SPOT, NOW // MINUTE * MINUTE, None)
    request = planner.starting(planner.plan(asked(), NOW).request, NOW // MINUTE * MINUTE)
    found = planner.pin(request)
    assert found.request.start_ms == NOW // MINUTE * MINUTE
    assert found.request.minute_order == "observed"
    (warm_up,) = found.warm_up
    assert warm_up[0, 0] == START + 2 * DAY + 5 * HOUR
    assert warm_up[-1, 0] == found.request.start_ms - MINUTE


def test_what_an_exchange_publishes_late_is_traded_not_missing(
    planner: PaperPlanner, store: ParquetCandleStore
) -> None:
    now = NOW // MINUTE * MINUTE
    store.delete(SPOT, now - 2 * MINUTE, None)
    request = planner.starting(planner.plan(asked(), NOW).request, now)
    assert request.start_ms == now - 2 * MINUTE
    assert planner.pin(request).warm_up[0][-1, 0] == now - 3 * MINUTE


def test_a_session_without_warm_up_needs_nothing_stored(planner: PaperPlanner) -> None:
    found = pinned(planner, asked(symbol="XYZ-USDT", warm_up_candles=0))
    assert [rows.shape for rows in found.warm_up] == [(0, 6)]


def test_a_gap_that_nobody_was_asked_about_is_refused(
    planner: PaperPlanner, store: ParquetCandleStore
) -> None:
    store.delete(SPOT, START + DAY - HOUR, START + DAY - HOUR + 3 * MINUTE)
    with pytest.raises(ResearchError, match="missing") as caught:
        pinned(planner, replay())
    assert caught.value.code is ErrorCode.CANDLES_MISSING
    assert "candles_import" in str(caught.value.hint)


def test_minutes_an_exchange_does_not_have_make_the_order_that_of_what_is_observed(
    planner: PaperPlanner, store: ParquetCandleStore
) -> None:
    gap = (START + DAY - HOUR, START + DAY - HOUR + 3 * MINUTE)
    store.delete(SPOT, *gap)
    store.append(SPOT, np.empty((0, 6)), "test", gap)
    assert pinned(planner, replay()).request.minute_order == "observed"


@pytest.mark.parametrize(
    "more",
    [
        {"speed": 5.0},
        {"replay_start": "2024-01-02"},
        {"replay_end": "2024-01-02"},
        {"session_id": "a/b"},
        {"session_id": "x" * 65},
        {"strategy": None},
        {"symbol": None},
        {"strategy": None, "symbol": None},
        {"strategy": None, "symbol": None, "routes": ()},
        {"symbol": None, "routes": ({"strategy": "Mine", "symbol": "ETH-USDT", "timeframe": "1h"},)},
        {"routes": ({"strategy": "Mine", "symbol": "BTC-USDT", "timeframe": "4h"},)},
        {
            "strategy": None,
            "symbol": None,
            "timeframe": "4h",
            "routes": ({"strategy": "Mine", "symbol": "ETH-USDT", "timeframe": "1h"},),
        },
        {"timeframe": "1H"},
        {"fee": -0.1},
        {"leverage": 0},
        {"exchange": "Binance Spot", "leverage": 3},
        {"warm_up_candles": 10**6},
        {"warm_up_candles": 90_000, "timeframe": "1M"},
        {"feed": "replay"},
        {"feed": "replay", "replay_start": "2024-01-02", "speed": 0.0},
        {"feed": "replay", "replay_start": "2024-01-02", "replay_end": "2024-01-02"},
        {"feed": "replay", "replay_start": "2024-01-02T25:00Z"},
        {"feed": "replay", "replay_start": "2025-01-02"},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(planner: PaperPlanner, more: dict[str, Any]) -> None:
    with pytest.raises(ResearchError) as caught:
        planner.plan(asked(**more), NOW)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.hint


def test_a_strategy_has_to_exist(planner: PaperPlanner) -> None:
    with pytest.raises(ResearchError) as caught:
        planner.plan(asked(strategy="Nobody"), NOW)
    assert caught.value.code is ErrorCode.STRATEGY_NOT_FOUND


def test_the_engine_of_the_settings_may_refuse() -> None:
    refusal = ResearchError(ErrorCode.CAPABILITY_MISSING, "no plugin", hint="engine='embedded'")
    engines = PaperEngines(lambda: "jesse", lambda: refusal)
    engines.check("embedded")
    with pytest.raises(ResearchError, match="no plugin"):
        engines.check("configured")
    PaperEngines(lambda: "jesse").check("configured")


class Imports:
    """Notes what it is asked for, and brings it."""

    def __init__(self, store: ParquetCandleStore, clock: "Moving", *, seconds: int = 1) -> None:
        self.asked: list[tuple[str, tuple[str, ...], str, str | None]] = []
        self.state = "done"
        self.fault: ResearchError | None = None
        self._store, self._clock, self._seconds = store, clock, seconds

    async def import_from_exchange(
        self, exchange: str, symbols: tuple[str, ...], start: str, end: str | None, **_more: Any
    ) -> Any:
        self.asked.append((exchange, symbols, start, end))
        if self.fault is not None:
            raise self.fault
        now = self._clock.now // MINUTE * MINUTE
        self._clock.now += self._seconds * 1000
        rows = synthetic_candles(START, (now - START) // MINUTE, seed=1)
        for symbol in symbols:
            self._store.append(SeriesKey(exchange=exchange, symbol=symbol), rows, "test", (START, now))

        class Answer:
            class state:  # noqa: N801
                active = self.state == "running"

            job_id = "job_x"

        return Answer()


class Moving(Clock):
    def __init__(self) -> None:
        self.now = NOW

    def now_ms(self) -> int:
        return self.now


def warming(
    planner: PaperPlanner, store: ParquetCandleStore, seconds: int = 1
) -> tuple[PaperWarmUp, Imports]:
    clock = Moving()
    imports = Imports(store, clock, seconds=seconds)
    return PaperWarmUp(planner, imports, clock), imports  # type: ignore[arg-type]


async def test_a_live_session_begins_where_its_warm_up_ends(
    planner: PaperPlanner, store: ParquetCandleStore
) -> None:
    store.delete(SPOT)
    warm_up, imports = warming(planner, store)
    request = await warm_up.ready(planner.plan(asked(), NOW).request, None)
    assert imports.asked == [("Binance Spot", ("BTC-USDT",), "2024-01-03", None)]
    assert request.start_ms == NOW // MINUTE * MINUTE
    (rows,) = planner.pin(request).warm_up
    assert rows[-1, 0] == request.start_ms - MINUTE


async def test_minutes_that_close_during_an_import_are_imported_too(
    planner: PaperPlanner, store: ParquetCandleStore
) -> None:
    store.delete(SPOT)
    warm_up, imports = warming(planner, store, seconds=90)
    request = await warm_up.ready(planner.plan(asked(), NOW).request, None)
    assert len(imports.asked) == 3
    assert request.start_ms > NOW
    (rows,) = planner.pin(request).warm_up
    assert rows[-1, 0] == request.start_ms - MINUTE


async def test_what_is_stored_is_not_asked_for(planner: PaperPlanner, store: ParquetCandleStore) -> None:
    warm_up, imports = warming(planner, store)
    await warm_up.ready(planner.plan(replay(), NOW).request, None)
    await warm_up.ready(planner.plan(asked(warm_up_candles=0), NOW).request, None)
    await warm_up.ready(planner.plan(asked(), NOW).request, None)
    assert imports.asked == []


async def test_a_long_import_goes_on_as_a_job(planner: PaperPlanner, store: ParquetCandleStore) -> None:
    store.delete(SPOT)
    warm_up, imports = warming(planner, store)
    imports.state = "running"
    with pytest.raises(ResearchError, match="being imported") as caught:
        await warm_up.ready(planner.plan(asked(), NOW).request, None)
    assert caught.value.details == {"job_id": "job_x"}
    assert "job_get" in str(caught.value.hint)


async def test_a_replay_asks_for_its_warm_up_and_says_what_lacks_when_nobody_answers(
    planner: PaperPlanner, store: ParquetCandleStore
) -> None:
    store.delete(SPOT, START, START + DAY)
    request = planner.plan(replay(), NOW).request
    warm_up, imports = warming(planner, store)
    imports.fault = ResearchError(ErrorCode.EXCHANGE_UNREACHABLE, "no network", hint="check it")
    with pytest.raises(ResearchError, match="importing them failed: no network") as caught:
        await warm_up.ready(request, None)
    assert imports.asked == [("Binance Spot", ("BTC-USDT",), "2024-01-01", "2024-01-02")]
    assert caught.value.code is ErrorCode.CANDLES_MISSING
    assert "exchange_unreachable" in str(caught.value.details["import_error"])
    assert "lower warm_up_candles" in str(caught.value.hint)
    assert "gaps" not in str(caught.value.hint), "paper_start has no such argument"


async def test_a_replay_of_what_is_not_stored_asks_nobody(
    planner: PaperPlanner, store: ParquetCandleStore
) -> None:
    store.delete(SPOT, START, START + DAY)
    warm_up, imports = warming(planner, store)
    request = planner.plan(replay(), NOW).request
    beyond = request.model_copy(update={"end_ms": START + 300 * DAY})
    with pytest.raises(ResearchError) as caught:
        await warm_up.ready(beyond, None)
    assert caught.value.code is ErrorCode.CANDLES_MISSING
    assert imports.asked == []
