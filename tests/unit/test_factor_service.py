"""The factor analysis over real stores: times that must meet, what is refused, what is said."""

import asyncio
import json
import math
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.jobs import SqlJobStore
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.analytics.crypto_factors import (
    long_short,
    momentum_scores,
    rebalancings,
    size_scores,
    volatility_scores,
)
from jesse_mcp.analytics.factor_regression import factor_regression
from jesse_mcp.analytics.return_series import compounded
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.services import factor_analysis as module
from jesse_mcp.services import factor_universe
from jesse_mcp.services.analysis_source import AnalysisSources, SourceArguments, source_arguments
from jesse_mcp.services.factor_analysis import FactorAnswer, FactorService
from jesse_mcp.services.factor_report import FactorResult
from jesse_mcp.services.factor_request import FactorArguments, factor_arguments
from jesse_mcp.services.factor_universe import FactorMarket
from jesse_mcp.services.jobs import JobService
from jesse_mcp.services.market_bars import MarketReader

START = 1_704_067_200_000  # 2024-01-01, a Monday
HOUR, DAY = 3_600_000, 86_400_000
EXCHANGE = "Binance Perpetual Futures"
SYMBOLS = ("ADA-USDT", "BTC-USDT", "DOT-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT")
#: Candles begin before the source does: the history that symbols are sorted by.
HISTORY, DAYS = 12, 60
FORMATION, REBALANCE = 6, 3

Floats = NDArray[np.float64]


def hourly(seed: int, days: int = HISTORY + DAYS) -> Floats:
    """A minute at the end of each hour, so that the last close of a day is that of its last minute."""
    generator = np.random.default_rng(seed)
    n = days * 24
    close = 100 * np.exp(np.cumsum(generator.normal(0, 0.004 * (1 + seed / 4), n)))
    times = START - HISTORY * DAY + HOUR * np.arange(1, n + 1) - 60_000
    volume = np.exp(generator.normal(seed, 1, n))
    return np.column_stack((times, close, close, close, close, volume))


def daily(candles: Floats) -> Floats:
    """Closes at every midnight, from the day after the first on."""
    return candles[23::24, 2]


def noise(seed: int, n: int = DAYS - 1, scale: float = 0.01) -> Floats:
    return np.random.default_rng(seed).normal(0, scale, n)


@dataclass
class Desk:
    service: FactorService
    jobs: JobService
    store: ParquetCandleStore
    candles: dict[str, Floats]

    def universe(self, *symbols: str, **more: Any) -> dict[str, Any]:
        days = {"formation_days": FORMATION, "rebalance_days": REBALANCE}
        return {"exchange": EXCHANGE, "symbols": symbols or SYMBOLS, **days, **more}

    def moments(self) -> NDArray[np.int64]:
        return START + DAY * np.arange(DAYS, dtype=np.int64)

    def prices(self) -> Floats:
        """At the moments, and at all midnights before."""
        return np.column_stack([daily(self.candles[symbol]) for symbol in SYMBOLS])[: HISTORY + DAYS - 1]

    def returns(self, symbol: str) -> Floats:
        closes = self.prices()[HISTORY - 1 :, SYMBOLS.index(symbol)]
        return np.asarray(closes[1:] / closes[:-1] - 1, dtype=np.float64)

    def balances(self, returns: Floats, shift: int = 0) -> SourceArguments:
        points = zip((self.moments() + shift).tolist(), compounded(returns, 1_000).tolist(), strict=False)
        return SourceArguments(balances=tuple(points))

    async def ask(self, source: SourceArguments, *, wait_seconds: float = 60, **more: Any) -> FactorAnswer:
        return await self.service.analyse(
            FactorArguments.model_validate({"source": source, **more}), wait_seconds=wait_seconds
        )

    async def result(self, source: SourceArguments, **more: Any) -> FactorResult:
        answer = await self.ask(source, **more)
        assert answer.state is JobState.DONE
        assert answer.result is not None
        json.dumps(answer.result, allow_nan=False)
        found = FactorResult.model_validate(answer.result)
        for section in (found.alpha, found.fit, found.attribution, found.risk, *found.factors):
            for name, value in section.items():
                reason = {"f_p": "f"}.get(name, name)
                assert value is not None or reason in found.undefined or "standard_error" in found.undefined
        assert "—" not in " ".join(found.findings)
        return found

    async def refused(self, source: SourceArguments, **more: Any) -> ResearchError:
        with pytest.raises(ResearchError) as caught:
            await self.ask(source, **more)
        assert caught.value.hint
        assert caught.value.code is not ErrorCode.INTERNAL_ERROR
        return caught.value


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Floats]]:
    folder = tmp_path_factory.mktemp("candles")
    store = ParquetCandleStore(folder)
    candles = {symbol: hourly(seed) for seed, symbol in enumerate(SYMBOLS)}
    for symbol, rows in candles.items():
        store.write(SeriesKey(exchange=EXCHANGE, symbol=symbol), rows, "test")
    return folder, candles


@pytest.fixture
async def desk(tmp_path: Path, stored: tuple[Path, dict[str, Floats]]) -> AsyncIterator[Desk]:
    folder, candles = stored
    database = Database.at(tmp_path / "research.sqlite")
    jobs = JobService(SqlJobStore(database), "here", lambda _owner: False)
    await jobs.start()
    store = ParquetCandleStore(folder)
    reader = MarketReader(store)
    sources = AnalysisSources(SqlRunStore(database), reader, lambda name: name)
    yield Desk(FactorService(sources, FactorMarket(reader, lambda name: name), jobs), jobs, store, candles)
    await jobs.close()
    database.close()


def market(*symbols: str) -> SourceArguments:
    return source_arguments(
        None,
        None,
        None,
        {"exchange": EXCHANGE, "symbols": symbols, "start_date": "2024-01-01", "end_date": "2024-02-29"},
        None,
    )


class TestBuiltIn:
    async def test_holding_btc_is_btc(self, desk: Desk) -> None:
        source = desk.balances(0.5 * desk.returns("BTC-USDT") + noise(1, scale=1e-5))
        found = await desk.result(source, universe=desk.universe("BTC-USDT"))
        (btc,) = found.factors
        assert btc["name"] == "btc"
        assert btc["beta"] == pytest.approx(0.5, abs=1e-3)
        assert found.fit["r_squared"] > 0.999
        assert found.periods == DAYS - 1
        assert btc["mean"] == pytest.approx(desk.returns("BTC-USDT").mean(), rel=1e-12)

    async def test_the_same_candles_as_source_and_factor_fit_exactly(self, desk: Desk) -> None:
        found = await desk.result(market("BTC-USDT"), universe=desk.universe("BTC-USDT"))
        assert found.factors[0]["beta"] == pytest.approx(1, rel=1e-12)
        assert found.fit["r_squared"] == 1
        assert found.alpha["p"] is None
        assert "no residual is left" in found.undefined["standard_error"]
        assert found.findings[0].startswith("the factors explain the returns exactly")
        assert (
            "what looks like skill is btc exposure" in found.findings[1]
            or found.attribution["mean_return"] < 0
        )

    @pytest.mark.parametrize("shift", [0, 60_000, HOUR, -HOUR, 11 * HOUR])
    async def test_factors_are_of_the_moments_of_the_source(self, desk: Desk, shift: int) -> None:
        """Balances a minute or hours after midnight, as a run has them, meet prices of just then."""
        rows = desk.candles["BTC-USDT"]
        at = np.searchsorted(rows[:, 0] + 60_000, desk.moments() + shift, side="right") - 1
        closes = rows[at, 2]
        points = tuple(zip((desk.moments() + shift).tolist(), closes.tolist(), strict=True))
        found = await desk.result(SourceArguments(balances=points), universe=desk.universe("BTC-USDT"))
        assert found.fit["r_squared"] == 1

    async def test_every_factor_is_what_analytics_makes_of_the_closes(self, desk: Desk) -> None:
        returns = noise(3)
        names = ["market", "momentum", "size", "volatility", "btc", "eth"]
        found = await desk.result(desk.balances(returns), universe=desk.universe(), factors=names)
        prices = desk.prices()
        moments = START - (HISTORY - 1) * DAY + DAY * np.arange(len(prices), dtype=np.int64)
        traded = np.column_stack(
            [(rows[:, 2] * rows[:, 5]).reshape(-1, 24).sum(axis=1) for rows in desk.candles.values()]
        )[: len(prices)]
        at = rebalancings(moments, REBALANCE * DAY)
        simple = prices[1:] / prices[:-1] - 1
        table = np.column_stack(
            (
                simple.mean(axis=1),
                long_short(prices, momentum_scores(prices, at, FORMATION), at),
                long_short(prices, -size_scores(traded, at, FORMATION), at),
                long_short(prices, volatility_scores(prices, at, FORMATION), at),
                desk_column(simple, "BTC-USDT"),
                desk_column(simple, "ETH-USDT"),
            )
        )[-len(returns) :]
        expected = factor_regression(returns, table)
        assert [row["name"] for row in found.factors] == names
        assert [row["mean"] for row in found.factors] == pytest.approx(table.mean(axis=0).tolist(), rel=1e-9)
        assert [row["beta"] for row in found.factors] == pytest.approx(
            [beta.value for beta in expected.betas], rel=1e-7
        )
        assert found.alpha["p"] == pytest.approx(expected.alpha.p, rel=1e-6)
        assert found.dropped == {"periods": 0, "inside": 0, "missing": dict.fromkeys(names, 0)}

    async def test_defaults_are_what_the_universe_has(self, desk: Desk) -> None:
        for symbols, names in (
            (SYMBOLS, ["market", "btc"]),
            (("ADA-USDT", "ETH-USDT"), ["market"]),
            (("BTC-USDT",), ["btc"]),
        ):
            found = await desk.result(desk.balances(noise(1)), universe=desk.universe(*symbols))
            assert [row["name"] for row in found.factors] == names

    async def test_how_symbols_are_listed_does_not_matter(self, desk: Desk) -> None:
        asked = {"factors": ["momentum", "size"]}
        one = await desk.result(desk.balances(noise(1)), universe=desk.universe(), **asked)
        other = await desk.result(desk.balances(noise(1)), universe=desk.universe(*SYMBOLS[::-1]), **asked)
        assert one.factors == other.factors

    async def test_without_history_the_first_periods_fall_out(self, desk: Desk) -> None:
        early = SourceArguments(
            balances=tuple(
                (START - HISTORY * DAY + DAY * day, 100.0 + (day % 5) ** 2) for day in range(1, 50)
            )
        )
        found = await desk.result(early, universe=desk.universe(), factors=["momentum", "market"])
        # Six days of history, then the next day of choice.
        assert found.dropped["missing"]["market"] == 0
        assert FORMATION <= found.dropped["missing"]["momentum"] <= FORMATION + REBALANCE
        assert found.dropped["periods"] == found.dropped["missing"]["momentum"]
        assert found.dropped["inside"] == 0
        assert any("were left out" in finding for finding in found.findings)

    async def test_a_symbol_with_a_hole_is_counted(self, desk: Desk, tmp_path: Path) -> None:
        store = ParquetCandleStore(tmp_path / "other")
        rows = desk.candles["BTC-USDT"]
        hole = (rows[:, 0] > START + 10 * DAY) & (rows[:, 0] < START + 13 * DAY)
        store.write(SeriesKey(exchange=EXCHANGE, symbol="BTC-USDT"), rows[~hole], "test")
        reader = MarketReader(store)
        sources = AnalysisSources(None, reader, str)  # type: ignore[arg-type]
        service = FactorService(sources, FactorMarket(reader, str), desk.jobs)
        found = await Desk(service, desk.jobs, store, {}).result(
            desk.balances(noise(1)), universe=desk.universe("BTC-USDT")
        )
        # Midnights of days 11 to 13 have no price of the last hour: four returns need one of them.
        assert found.dropped == {"periods": 4, "inside": 4, "missing": {"btc": 4}}
        assert "BTC-USDT has a price at 57 of 60 moments" in found.findings
        assert any("4 of them inside" in finding for finding in found.findings)

    async def test_a_symbol_that_is_not_stored_is_named(self, desk: Desk) -> None:
        error = await desk.refused(desk.balances(noise(1)), universe=desk.universe("BTC-USDT", "LTC-USDT"))
        assert error.code is ErrorCode.CANDLES_MISSING
        assert "LTC-USDT" in error.message

    async def test_no_overlap_is_no_analysis(self, desk: Desk) -> None:
        later = SourceArguments(
            balances=tuple((START + (500 + day) * DAY, 100.0 + day**2) for day in range(9))
        )
        error = await desk.refused(later, universe=desk.universe("BTC-USDT"))
        assert error.code is ErrorCode.CANDLES_MISSING

    async def test_the_market_and_all_its_coins_are_collinear(self, desk: Desk) -> None:
        error = await desk.refused(
            desk.balances(noise(1)),
            universe=desk.universe("BTC-USDT", "ETH-USDT"),
            factors=["market", "btc", "eth"],
        )
        assert error.message == "market, btc, eth are linear combinations of each other"

    async def test_periods_too_long_to_sort_by(self, desk: Desk) -> None:
        weekly = SourceArguments(
            balances=tuple((START + 7 * week * DAY, 100.0 + week**2) for week in range(8))
        )
        error = await desk.refused(weekly, universe=desk.universe(), factors=["size"])
        assert "formation_days is 6, and a period of the source is 7 days" in error.message
        assert (await desk.result(weekly, universe=desk.universe(), factors=["btc"])).periods == 7

    async def test_too_many_prices_are_refused(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(factor_universe, "_MAX_CELLS", 359)
        error = await desk.refused(desk.balances(noise(1)), universe=desk.universe())
        assert "6 symbols at 60 moments are 360 prices" in error.message


def desk_column(table: Floats, symbol: str) -> Floats:
    return table[:, SYMBOLS.index(symbol)]


class TestGiven:
    async def test_lists_of_the_same_length(self, desk: Desk) -> None:
        factor = noise(2)
        source = SourceArguments(returns=tuple((2 * factor + noise(3, scale=1e-3)).tolist()))
        found = await desk.result(source, factor_returns={"mine": tuple(factor.tolist())})
        assert found.factors[0]["beta"] == pytest.approx(2, abs=0.1)
        assert found.dropped["periods"] == 0

    async def test_times_are_matched_and_not_positions(self, desk: Desk) -> None:
        factor = noise(2)
        ends = desk.moments()[1:]
        timed = [(int(end), value) for end, value in zip(ends, factor.tolist(), strict=True)]
        extra = [(int(ends[0]) - DAY, 0.5), *timed[:20], *timed[23:], (int(ends[-1]) + DAY, 0.5)]
        found = await desk.result(desk.balances(2 * factor + 0.001), factor_returns={"mine": tuple(extra)})
        assert found.fit["r_squared"] == 1
        assert found.factors[0]["beta"] == pytest.approx(2, rel=1e-9)
        assert found.dropped == {"periods": 3, "inside": 3, "missing": {"mine": 3}}

    @pytest.mark.parametrize(
        ("shift", "known"), [(0, True), (60_000, True), (5 * HOUR, True), (7 * HOUR, False)]
    )
    async def test_a_little_apart_is_the_same_and_more_is_not(
        self, desk: Desk, shift: int, known: bool
    ) -> None:
        factor = noise(2)
        timed = tuple(zip((desk.moments()[1:] + shift).tolist(), factor.tolist(), strict=True))
        asked = {"factor_returns": {"mine": timed}}
        if not known:
            error = await desk.refused(desk.balances(2 * factor), **asked)
            assert "0 periods are too few" in error.message
            assert "59 periods of the source were left out" in (error.hint or "")
            return
        found = await desk.result(desk.balances(2 * factor), **asked)
        assert found.fit["r_squared"] == 1
        said = "periods of mine end up to 5 hours from those of the source" in found.findings
        assert said is (shift == 5 * HOUR)

    async def test_a_day_off_is_seen_as_nothing_in_common(self, desk: Desk) -> None:
        factor = noise(2)
        timed = tuple(zip((desk.moments()[1:] + DAY).tolist(), factor.tolist(), strict=True))
        found = await desk.result(desk.balances(2 * factor), factor_returns={"mine": timed})
        assert found.fit["r_squared"] < 0.1
        assert found.dropped["missing"] == {"mine": 1}

    async def test_a_gap_of_the_source_has_no_return_of_the_factor(self, desk: Desk) -> None:
        factor = noise(2)
        points = [*zip(desk.moments().tolist(), compounded(factor, 100.0).tolist(), strict=True)]
        del points[30:33]
        timed = tuple(zip(desk.moments()[1:].tolist(), factor.tolist(), strict=True))
        found = await desk.result(SourceArguments(balances=tuple(points)), factor_returns={"mine": timed})
        assert found.fit["r_squared"] == 1
        assert found.dropped == {"periods": 1, "inside": 1, "missing": {"mine": 1}}

    async def test_other_periods_are_refused(self, desk: Desk) -> None:
        hours = tuple((START + HOUR * hour, 0.001 * (hour % 7)) for hour in range(24 * DAYS))
        error = await desk.refused(desk.balances(noise(1)), factor_returns={"mine": hours})
        assert error.message == "factor_returns.mine is 0.0416667 days apart, the source 1 days"

    async def test_together_with_a_universe(self, desk: Desk) -> None:
        factor = noise(2)
        source = desk.balances(desk.returns("BTC-USDT") + 3 * factor + noise(4, scale=1e-5))
        found = await desk.result(
            source, universe=desk.universe("BTC-USDT"), factor_returns={"mine": tuple(factor.tolist())}
        )
        assert [row["name"] for row in found.factors] == ["btc", "mine"]
        assert [row["beta"] for row in found.factors] == pytest.approx([1, 3], abs=1e-2)


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "neither universe nor factor_returns is given"),
            ({"factors": ["btc"]}, "factors is ['btc'] without a universe"),
            ({"factor_returns": {"a": ()}}, "factor_returns.a has 0 values"),
            ({"factor_returns": {"a": (0.1,)}}, "factor_returns.a has 1 values for 59 returns"),
            ({"factor_returns": {" ": (0.1,)}}, "factor_returns has the name ' '"),
            ({"factor_returns": {"x" * 41: (0.1,)}}, "factor_returns has the name"),
            ({"factor_returns": {str(n): (0.1,) for n in range(21)}}, "21 factors are given"),
            ({"factor_returns": {"a": ((5, 0.1), (5, 0.1))}}, "factor_returns.a[1] is of 5, not later"),
            ({"rolling_window": 2}, "rolling_window is 2"),
            ({"rolling_window": 61}, "rolling_window is 61"),
            ({"hac_lags": -1}, "hac_lags is -1"),
            ({"hac_lags": 59}, "hac_lags is 59 with 59 periods"),
            ({"confidence": 0.5}, "confidence is 0.5"),
            ({"confidence": 1.0}, "confidence is 1.0"),
        ],
    )
    async def test_arguments(self, desk: Desk, arguments: dict[str, Any], message: str) -> None:
        factor = {"factor_returns": {"mine": tuple(noise(2).tolist())}}
        asked = (
            arguments
            if {"factors", "factor_returns"} & set(arguments) or not arguments
            else factor | arguments
        )
        error = await desk.refused(desk.balances(noise(1)), **asked)
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert message in error.message

    @pytest.mark.parametrize(
        ("symbols", "factors", "message"),
        [
            (SYMBOLS[:5], ["momentum"], "momentum is to be made of 5 symbols"),
            (SYMBOLS[:5], ["size"], "size is to be made of 5 symbols"),
            (SYMBOLS[:1], ["market"], "market is to be made of 1 symbols"),
            (("ADA-USDT",), None, "factors is None with the universe ['ADA-USDT']"),
            (SYMBOLS, [], "factors is [] with the universe"),
            (("ADA-USDT", "DOT-USDT"), ["btc"], "universe.symbols has none"),
            (("BTC-USDT", "BTC-USDC"), ["btc"], "universe.symbols has ['BTC-USDC', 'BTC-USDT']"),
            (("BTC-USDT", "BTC-USDT"), None, "universe.symbols has 2 symbols, 1 of them different"),
        ],
    )
    async def test_universes(
        self, desk: Desk, symbols: tuple[str, ...], factors: list[str] | None, message: str
    ) -> None:
        error = await desk.refused(desk.balances(noise(1)), universe=desk.universe(*symbols), factors=factors)
        assert message in error.message
        assert (await desk.jobs.page(kind="factor_analysis"))[1] == 0

    @pytest.mark.parametrize("name", ["formation_days", "rebalance_days"])
    @pytest.mark.parametrize("days", [0, 366])
    async def test_days(self, desk: Desk, name: str, days: int) -> None:
        error = await desk.refused(desk.balances(noise(1)), universe=desk.universe(**{name: days}))
        assert error.message == f"universe.{name} is {days}"

    @pytest.mark.parametrize(
        "wrong",
        [[0.1, math.nan], [math.inf], [[START, "much"]], ["x"], [[0.5, 1]], [None], [0.1, [START, 0.1]]],
    )
    def test_what_is_not_a_number_is_no_factor(self, wrong: list[Any]) -> None:
        with pytest.raises(ResearchError) as caught:
            factor_arguments(SourceArguments(returns=(0.1, 0.2)), factor_returns={"a": wrong})
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT
        assert "factor_returns.a" in caught.value.message

    async def test_the_same_name_twice(self, desk: Desk) -> None:
        error = await desk.refused(
            desk.balances(noise(1)),
            universe=desk.universe("BTC-USDT"),
            factor_returns={"btc": tuple(noise(2).tolist())},
        )
        assert error.message == "btc is in factor_returns and in factors"

    async def test_returns_without_times_have_no_candles_beside_them(self, desk: Desk) -> None:
        source = SourceArguments(returns=tuple(noise(1).tolist()))
        error = await desk.refused(source, universe=desk.universe())
        assert "have no times" in error.message
        error = await desk.refused(source, factor_returns={"a": ((START, 0.1), (START + DAY, 0.2))})
        assert "factor_returns.a has times, and the source has none" in error.message

    async def test_a_source_without_returns(self, desk: Desk) -> None:
        source = SourceArguments(balances=((START, 100.0),))
        error = await desk.refused(source, universe=desk.universe("BTC-USDT"))
        assert "has no returns" in error.message or "have no returns" in error.message

    async def test_constant_balances(self, desk: Desk) -> None:
        error = await desk.refused(desk.balances(np.zeros(DAYS - 1)), universe=desk.universe("BTC-USDT"))
        assert error.message == "the returns do not vary: there is nothing to explain"

    async def test_two_points(self, desk: Desk) -> None:
        error = await desk.refused(desk.balances(noise(1)[:1]), universe=desk.universe("BTC-USDT"))
        assert error.message == "1 periods are too few for 1 factors and an intercept: 3 are the least"


class TestAnswer:
    async def test_the_parts_add_up(self, desk: Desk) -> None:
        found = await desk.result(desk.balances(noise(1)), universe=desk.universe())
        parts = found.attribution
        assert parts["factors"] + parts["alpha"] + parts["residual"] == pytest.approx(
            parts["mean_return"], abs=1e-17
        )
        assert sum(row["contribution"] for row in found.factors) == pytest.approx(parts["factors"], abs=1e-17)
        assert sum(row["share"] for row in found.factors) + parts["alpha_share"] == pytest.approx(1)
        assert sum(row["risk_share"] for row in found.factors) == pytest.approx(found.fit["r_squared"])
        risk = found.risk
        assert risk["systematic"] ** 2 + risk["idiosyncratic"] ** 2 == pytest.approx(risk["volatility"] ** 2)
        assert found.alpha["annual"] == found.alpha["per_period"] * found.periods_per_year
        assert found.alpha["annual_low"] == found.alpha["low"] * found.periods_per_year

    async def test_exposure_that_looks_like_skill(self, desk: Desk) -> None:
        factor = noise(2) + 0.002
        source = SourceArguments(returns=tuple((factor + noise(3, scale=0.002)).tolist()))
        found = await desk.result(source, factor_returns={"coin": tuple(factor.tolist())})
        assert found.findings[0].startswith("no alpha is shown")
        assert any(one.startswith("what looks like skill is coin exposure: ") for one in found.findings)
        assert any("coin most of it" in one for one in found.findings)

    async def test_a_beta_that_may_be_zero_is_no_exposure(self, desk: Desk) -> None:
        """A factor of a large mean takes the mean return with a beta that is noise."""
        source = SourceArguments(returns=tuple((noise(3) + 0.0005).tolist()))
        found = await desk.result(source, factor_returns={"coin": tuple((noise(8) + 0.2).tolist())})
        (row,) = found.factors
        assert (row["p"] > 0.05, row["share"] > 0.5) == (True, True)
        assert not any("looks like skill" in one for one in found.findings)

    async def test_more_lags_than_errors_can_have_are_said(self, desk: Desk) -> None:
        source = SourceArguments(returns=tuple(noise(1).tolist()))
        given = {"coin": tuple(noise(2).tolist())}
        for lags, said in ((DAYS - 2, True), (DAYS // 5, True), (DAYS // 12, False), (None, False)):
            found = await desk.result(source, factor_returns=given, hac_lags=lags)
            assert any("errors come out too small" in one for one in found.findings) is said, lags

    async def test_days_that_are_of_no_use_are_said(self, desk: Desk) -> None:
        source = desk.balances(noise(1))
        for factors, said in ((["btc"], True), (["btc", "momentum"], False)):
            found = await desk.result(source, universe=desk.universe(), factors=factors)
            no_use = [one for one in found.findings if "no use was made of it" in one]
            assert bool(no_use) is said
            assert not said or no_use[0].startswith("formation_days and rebalance_days: ")
        plain = {"exchange": EXCHANGE, "symbols": SYMBOLS}
        found = await desk.result(source, universe=plain, factors=["btc"])
        assert not any("no use" in one for one in found.findings)

    async def test_alpha_is_not_called_skill_by_itself(self, desk: Desk) -> None:
        factor = noise(2)
        source = SourceArguments(returns=tuple((factor + 0.01 + noise(3, scale=0.002)).tolist()))
        found = await desk.result(source, factor_returns={"coin": tuple(factor.tolist())})
        assert found.findings[0].startswith("alpha is ")
        assert "significance_test" in found.findings[0]
        assert not any("looks like skill" in one for one in found.findings)
        worse = SourceArguments(returns=tuple((factor - 0.01 + noise(3, scale=0.002)).tolist()))
        lost = await desk.result(worse, factor_returns={"coin": tuple(factor.tolist())})
        assert lost.findings[0].startswith("alpha is negative")

    async def test_unlike_factors_say_so(self, desk: Desk) -> None:
        source = SourceArguments(returns=tuple(noise(1).tolist()))
        found = await desk.result(source, factor_returns={"coin": tuple(noise(2).tolist())})
        assert any("mostly its own" in one for one in found.findings)

    async def test_alike_factors_say_so(self, desk: Desk) -> None:
        one = noise(2)
        two = one + noise(5, scale=1e-4)
        source = SourceArguments(returns=tuple((one + noise(3, scale=0.002)).tolist()))
        found = await desk.result(source, factor_returns={"a": tuple(one.tolist()), "b": tuple(two.tolist())})
        assert any(finding.startswith("factors are hard to tell apart") for finding in found.findings)

    async def test_few_and_dependent_periods_say_so(self, desk: Desk) -> None:
        factor = noise(2, n=15)
        source = SourceArguments(returns=tuple((factor + np.linspace(-0.1, 0.1, 15)).tolist()))
        found = await desk.result(source, factor_returns={"coin": tuple(factor.tolist())})
        assert any("15 periods for 1 factors are few" in one for one in found.findings)
        assert any("Durbin-Watson" in one for one in found.findings)

    async def test_rolling_betas(self, desk: Desk) -> None:
        factor = noise(2, n=300)
        turned = np.where(np.arange(300) < 150, 1.0, -1.0) * factor + noise(3, n=300, scale=1e-4)
        found = await desk.result(
            SourceArguments(returns=tuple(turned.tolist())),
            factor_returns={"coin": tuple(factor.tolist())},
            rolling_window=30,
        )
        rolling = found.rolling
        assert (rolling["window"], rolling["every"]) == (30, 3)
        assert len(rolling["ends"]) == len(rolling["betas"]["coin"]) <= 100
        assert rolling["ends"][-1] == 299
        assert rolling["range"]["coin"] == pytest.approx([-1, 1], abs=0.01)
        assert any("the beta on coin changed sign" in one for one in found.findings)
        timed = await desk.result(
            desk.balances(noise(1)), universe=desk.universe("BTC-USDT"), rolling_window=20
        )
        assert timed.rolling["ends"][-1] == int(desk.moments()[-1])

    async def test_flat_windows_are_null(self, desk: Desk) -> None:
        factor = noise(2)
        factor[:30] = 0
        found = await desk.result(
            SourceArguments(returns=tuple(noise(1).tolist())),
            factor_returns={"coin": tuple(factor.tolist())},
            rolling_window=10,
        )
        assert found.rolling["betas"]["coin"][0] is None
        assert "windows have no regression" in found.undefined["rolling"]

    async def test_ruin_ends_the_series_and_is_said(self, desk: Desk) -> None:
        returns = noise(1)
        returns[40] = -1
        found = await desk.result(desk.balances(returns), universe=desk.universe("BTC-USDT"))
        assert found.periods == 41
        assert any("everything was lost" in one for one in found.findings)

    async def test_an_answer_stays_small(self, desk: Desk) -> None:
        names = ["market", "momentum", "size", "volatility", "btc"]
        answer = await desk.ask(desk.balances(noise(1)), universe=desk.universe(), factors=names)
        assert len(json.dumps(answer.result)) < 8_000

    async def test_confidence_widens_the_interval(self, desk: Desk) -> None:
        source, asked = desk.balances(noise(1)), {"universe": desk.universe("BTC-USDT")}
        narrow = await desk.result(source, confidence=0.8, **asked)
        wide = await desk.result(source, confidence=0.99, **asked)
        assert wide.alpha["low"] < narrow.alpha["low"] < narrow.alpha["high"] < wide.alpha["high"]
        assert wide.alpha["p"] == narrow.alpha["p"]


class TestJob:
    async def test_the_job_keeps_the_request_without_the_series(self, desk: Desk) -> None:
        answer = await desk.ask(
            desk.balances(noise(1)),
            universe=desk.universe("BTC-USDT"),
            factor_returns={"mine": tuple(noise(2).tolist())},
        )
        request = (await desk.jobs.get(answer.job_id)).request
        assert request["source"] == {"balances": "60 values"}
        assert request["factor_returns"] == {"mine": "59 values"}
        assert request["universe"]["symbols"] == ["BTC-USDT"]

    async def test_a_cancelled_job_stops_its_thread(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        began, ended = threading.Event(), threading.Event()

        def endless(arguments: Any, data: Any, checkpoint: Any) -> Any:
            began.set()
            try:
                while True:
                    checkpoint()
            finally:
                ended.set()

        monkeypatch.setattr(module, "gathered", endless)
        answer = await desk.ask(desk.balances(noise(1)), universe=desk.universe("BTC-USDT"), wait_seconds=0)
        assert answer.result is None
        assert await asyncio.to_thread(began.wait, 20)
        await desk.jobs.cancel(answer.job_id)
        assert await asyncio.to_thread(ended.wait, 20)
        job = await desk.jobs.wait(answer.job_id, 20)
        assert job.state is JobState.CANCELLED
