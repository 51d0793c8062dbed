"""Factor analysis through MCP on real runs: what holds BTC has a beta of one on it, on the same days."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray

from jesse_mcp.analytics.synthetic import synthetic_candles
from mcp_desk import EXCHANGE, SERIES, START, Desk, environment, stdio_desk

DAYS = 24
SYMBOLS = ["BTC-USDT", "ETH-USDT", "ADA-USDT", "SOL-USDT", "XRP-USDT", "DOT-USDT"]
UNIVERSE: dict[str, Any] = {
    "exchange": EXCHANGE,
    "symbols": SYMBOLS,
    "formation_days": 4,
    "rebalance_days": 2,
}
ASKED: dict[str, Any] = {**SERIES, "timeframe": "1h", "start_date": "2024-01-08", "warm_up_candles": 24}
HOLD = '''
from jesse.strategies import Strategy


class Hold(Strategy):
    """Puts everything into the coin at the first candle, and keeps it."""

    def should_long(self):
        return True

    def go_long(self):
        self.buy = self.balance / self.price, self.price
'''


def candles(seed: int) -> NDArray[np.float64]:
    return synthetic_candles(START, DAYS * 1_440, seed, start_price=10.0 ** (1 + seed % 3))


def fill(desk: Desk, folder: Path) -> None:
    for seed, symbol in enumerate(SYMBOLS):
        path = folder / f"{symbol}.csv"
        header = "timestamp,open,high,low,close,volume"
        rows = candles(seed)[:, [0, 1, 3, 4, 2, 5]]
        np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.10g")
        desk.call("candles_import", exchange=EXCHANGE, symbol=symbol, path=str(path))


def equity(desk: Desk, run_id: str) -> tuple[list[int], NDArray[np.float64]]:
    view = desk.call("run_get", run_id=run_id, include=["equity"], limit=200)
    return [one["timestamp"] for one in view["equity"]], np.array([one["balance"] for one in view["equity"]])


def closes_at(seed: int, moments: list[int]) -> NDArray[np.float64]:
    """The close of the minute that ends at each moment."""
    rows = candles(seed)
    ended = {int(time) + 60_000: close for time, close in rows[:, [0, 2]]}
    ended[START] = rows[0, 1]
    return np.array([ended[moment] for moment in moments])


def returns(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values[1:] / values[:-1] - 1, dtype=np.float64)


@pytest.mark.timeout(900)
def test_a_run_that_holds_btc_is_btc(engine_python: Path, tmp_path: Path) -> None:
    with stdio_desk(environment(tmp_path, engine_python), tmp_path / "log") as desk:
        fill(desk, tmp_path)
        desk.call("strategy_write", name="Hold", code=HOLD)
        runs = {}
        for fast in (True, False):
            run = desk.call("backtest", **ASKED, strategy="Hold", fee=0, fast_mode=fast, wait_seconds=120)[
                "run"
            ]
            runs[fast] = run["run_id"]
            times, balances = equity(desk, run["run_id"])
            earned, paid = returns(balances), returns(closes_at(0, times))
            # All but the first period, in which the coin is bought: the very same returns.
            np.testing.assert_allclose(earned[1:], paid[1:], rtol=0, atol=1e-12)
            found = desk.call(
                "factor_analysis", run_id=run["run_id"], universe=UNIVERSE, factors=["btc"], rolling_window=10
            )["result"]
            (btc,) = found["factors"]
            fit = sm.OLS(earned, sm.add_constant(paid)).fit(
                cov_type="HAC",
                cov_kwds={"maxlags": found["fit"]["hac_lags"], "use_correction": True},
                use_t=True,
            )
            assert btc["beta"] == pytest.approx(fit.params[1], rel=1e-9)
            assert btc["standard_error"] == pytest.approx(fit.bse[1], rel=1e-7)
            assert found["alpha"]["p"] == pytest.approx(fit.pvalues[0], rel=1e-6)
            assert btc["beta"] == pytest.approx(1, abs=0.03)
            assert found["fit"]["r_squared"] > 0.99
            assert found["periods"] == len(earned)
            assert found["dropped"] == {"periods": 0, "inside": 0, "missing": {"btc": 0}}
            # Windows without the first period are BTC to the last digit.
            assert found["rolling"]["betas"]["btc"][1:] == pytest.approx([1] * (len(earned) - 10), rel=1e-9)
            assert found["rolling"]["ends"][-1] == times[-1]

        everything = ["market", "momentum", "size", "volatility", "btc", "eth"]
        full = desk.call(
            "factor_analysis", run_id=runs[True], universe=UNIVERSE, factors=everything, confidence=0.9
        )["result"]
        assert [row["name"] for row in full["factors"]] == everything
        assert full["dropped"]["periods"] == 0
        times, balances = equity(desk, runs[True])
        table = np.column_stack([returns(closes_at(seed, times)) for seed in range(len(SYMBOLS))])
        assert full["factors"][0]["mean"] == pytest.approx(table.mean(), rel=1e-9)
        parts = full["attribution"]
        assert parts["mean_return"] == pytest.approx(returns(balances).mean(), rel=1e-12)
        total = sum(row["contribution"] for row in full["factors"]) + parts["alpha"] + parts["residual"]
        assert total == pytest.approx(parts["mean_return"], rel=1e-12)
        assert "6 symbols at least" in full["conventions"]

        given = desk.call(
            "factor_analysis",
            run_id=runs[True],
            factor_returns={"coin": list(zip(times[1:], table[:, 0].tolist(), strict=True))},
        )["result"]
        alone = desk.call("factor_analysis", run_id=runs[True], universe=UNIVERSE, factors=["btc"])["result"]
        assert given["factors"][0]["beta"] == pytest.approx(alone["factors"][0]["beta"], rel=1e-9)

        portfolio = desk.call(
            "factor_analysis",
            market={
                "exchange": EXCHANGE,
                "symbols": ["BTC-USDT", "ETH-USDT"],
                "weights": [0.7, -0.2],
                "timeframe": "4h",
                "start_date": "2024-01-08",
                "end_date": "2024-01-24",
            },
            universe=UNIVERSE,
            factors=["btc", "eth"],
        )["result"]
        assert [row["beta"] for row in portfolio["factors"]] == pytest.approx([0.7, -0.2], rel=1e-9)
        assert portfolio["fit"]["r_squared"] == 1

        missing = desk.refused(
            "factor_analysis", run_id=runs[True], universe={**UNIVERSE, "symbols": [*SYMBOLS, "LTC-USDT"]}
        )
        assert missing["code"] == "candles_missing"
        assert "candles_import" in missing["hint"]
        unknown = desk.refused("factor_analysis", run_id=runs[True], universe=UNIVERSE, factors=["value"])
        assert unknown["code"] == "invalid_argument"
        assert desk.refused("factor_analysis", run_id=runs[True])["code"] == "invalid_argument"
