"""What every tool is called with: no more than it needs, and everything it takes."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from market_tool_calls import MARKET_CALLS, MARKET_REQUIRED
from mcp_desk import EXCHANGE, RUN, SERIES, Desk, strategy, wait_until
from paper_tool_calls import PAPER_CALLS, PAPER_REQUIRED

ETH = {"exchange": EXCHANGE, "symbol": "ETH-USDT"}


@dataclass
class World:
    """A server that has candles, a strategy and two runs. Tests add to it, and take nothing away."""

    desk: Desk
    folder: Path
    runs: list[str]
    job: str
    numbers: "itertools.count[int]"
    sessions: list[str] = field(default_factory=list)

    def fresh_strategy(self, before: str = "pass") -> str:
        name = f"Mine{next(self.numbers)}"
        self.desk.call("strategy_write", name=name, code=strategy(name, before))
        return name

    def fresh_series(self) -> dict[str, str]:
        series = {"exchange": EXCHANGE, "symbol": f"COIN{next(self.numbers)}-USDT"}
        self.desk.call("candles_import", **series, path=str(self.folder / "btc.csv"))
        return series

    def ended_session(self) -> str:
        """A paper session that has replayed five days; one for all."""
        if not self.sessions:
            self.sessions.append(self._session(replay_end="2024-01-08"))
            wait_until(
                lambda: self.desk.call("paper_status", session_id=self.sessions[0])["status"] == "finished",
                f"{self.sessions[0]} finished",
            )
        return self.sessions[0]

    def running_session(self) -> str:
        """A paper session that takes days for its days."""
        return self._session(speed=1)

    def _session(self, **more: Any) -> str:
        replay = {"feed": "replay", "replay_start": "2024-01-03", "warm_up_candles": 24, "leverage": 2}
        started = self.desk.call("paper_start", strategy="Mine", **SERIES, **replay, **more)
        session: str = started["session_id"]
        return session

    def endless_job(self) -> str:
        """A job that has begun to run and will never end."""
        name = self.fresh_strategy("while True: pass")
        job: str = self.desk.call("backtest", **{**RUN, "strategy": name}, wait_seconds=0)["job_id"]
        wait_until(lambda: self.desk.call("job_get", job_id=job)["state"] == "running", f"{job} running")
        return job


ONE = {**SERIES, "strategy": "Mine", "timeframe": "1h", "start_date": "2024-01-03"}
SHORT_WARM_UP = {"warm_up_candles": 24}

Arguments = dict[str, Any] | Callable[[World], dict[str, Any]]


def made(arguments: Arguments, world: World) -> dict[str, Any]:
    return arguments(world) if callable(arguments) else dict(arguments)


REQUIRED: dict[str, Arguments] = {
    "system_status": {},
    "candles_import": {"exchange": EXCHANGE},
    "candles_available": {},
    "candles_delete": lambda w: w.fresh_series(),
    "strategy_list": {},
    "strategy_read": {"name": "TrendFollowing"},
    "strategy_validate": {},
    "strategy_write": {"name": "Written", "code": strategy("Written")},
    "strategy_delete": lambda w: {"name": w.fresh_strategy()},
    "indicator_list": {},
    "backtest": {"exchange": EXCHANGE, "start_date": "2024-01-03"},
    "backtest_batch": {},
    "optimize": {},
    "walk_forward": {},
    "run_list": {},
    "run_get": lambda w: {"run_id": w.runs[0]},
    "run_compare": lambda w: {"run_ids": w.runs},
    "monte_carlo": lambda w: {"run_id": w.runs[0], "method": "trades_shuffle"},
    "analyze_results": lambda w: {"run_id": w.runs[0]},
    "significance_test": lambda w: {"run_id": w.runs[0]},
    "stress_test": lambda w: {"run_id": w.runs[0]},
    "var_calculation": lambda w: {"run_id": w.runs[0]},
    "risk_report": lambda w: {"run_id": w.runs[0]},
    **MARKET_REQUIRED,
    **PAPER_REQUIRED,
    "job_list": {},
    "job_get": lambda w: {"job_id": w.job},
    "job_cancel": lambda w: {"job_id": w.endless_job()},
}
#: Of these the schema cannot say what is needed: the one or the other.
CHOICE = {
    "candles_import",
    "strategy_validate",
    "backtest",
    "backtest_batch",
    "optimize",
    "walk_forward",
    *MARKET_REQUIRED,
}
#: With these alone an exchange is asked, and none can be reached here.
EXCHANGE_ASKED = {"paper_start"}

ANALYSED = (
    "trades",
    "drawdowns",
    "calendar",
    "rolling",
    "excursions",
    "distribution",
    "intervals",
    "benchmark",
    "jesse",
)

#: These need an exchange, a running Jesse or a longer run, and are under test where there is one.
ELSEWHERE = {
    "candles_available": {"listed"},
    "candles_import": {"source"},
    "regime_detector": {"run_id", "session_id"},
}

EVERY: dict[str, list[Arguments]] = {
    "candles_import": [
        lambda w: {**SERIES, "path": str(w.folder / "btc.csv"), "timestamp_unit": "ms"},
        {
            "exchange": EXCHANGE,
            "symbols": ["BTC-USDT", "ETH-USDT"],
            # All of it is stored, so nothing is fetched.
            "start_date": "2024-01-01",
            "end_date": "2024-01-08",
            "wait_seconds": 30,
        },
    ],
    "candles_available": [{**SERIES, "start_date": "2024-01-01", "end_date": "2024-02-01"}],
    "candles_delete": [
        lambda w: {**w.fresh_series(), "start_date": "2024-01-02", "end_date": "2024-01-03"},
    ],
    "strategy_list": [{"search": "trend"}],
    "strategy_read": [{"name": "Mine"}],
    "strategy_validate": [{"code": strategy("Mine"), "name": "Mine"}],
    "strategy_write": [
        lambda w: {"name": (name := w.fresh_strategy()), "code": strategy(name), "overwrite": True}
    ],
    "strategy_delete": [lambda w: {"name": w.fresh_strategy()}],
    "indicator_list": [{"search": "average", "limit": 3}, {"name": "ema"}],
    "backtest": [
        {
            "exchange": EXCHANGE,
            "routes": [
                {"strategy": "Mine", "symbol": symbol, "timeframe": "1h"}
                for symbol in ("BTC-USDT", "ETH-USDT")
            ],
            "data_routes": [{"symbol": "BTC-USDT", "timeframe": "4h", "exchange": EXCHANGE}],
            "start_date": "2024-01-05",
            "end_date": "2024-01-07",
            "exchange_type": "futures",
            "starting_balance": 5000,
            "fee": 0.001,
            "leverage": 2,
            "leverage_mode": "isolated",
            "hyperparameters": {"every": 3},
            "warm_up_candles": 10,
            "fast_mode": True,
            "benchmark": True,
            "gaps": "refuse",
            "engine": "embedded",
            "title": "every argument",
            "use_cache": False,
            "wait_seconds": 60,
        },
        {**RUN, "strategy": "Mine"},
    ],
    "backtest_batch": [
        {
            **ONE,
            "end_date": "2024-01-05",
            "settings": {"warm_up_candles": 24, "fee": 0.001},
            "vary": {
                "strategies": ["Mine"],
                "symbols": ["BTC-USDT", "ETH-USDT"],
                "timeframes": ["1h"],
                "periods": [{"start_date": "2024-01-03", "end_date": "2024-01-05"}],
                "hyperparameters": [{"every": 3}, {}],
            },
            "sort_by": "sharpe_ratio",
            "limit": 3,
            "offset": 1,
            "wait_seconds": 60,
        },
        {**ONE, "settings": SHORT_WARM_UP, "cells": [{"hyperparameters": {"every": 5}}, {"leverage": 2}]},
        lambda w: {"resume": w.desk.call("backtest_batch", **ONE, cells=[SHORT_WARM_UP])["job_id"]},
    ],
    "optimize": [
        {
            **ONE,
            "end_date": "2024-01-08",
            "settings": SHORT_WARM_UP,
            "metrics": ["net_profit", "fee:min"],
            "space": {"every": {"min": 2, "max": 8, "step": 2}},
            "trials": 4,
            "sampler": "nsga2",
            "seed": 3,
            "min_trades": 1,
            "test_fraction": 0.4,
            "early_stop": 4,
            "pruning": False,
            "in_flight": 2,
            "wait_seconds": 60,
        },
        {**ONE, "settings": SHORT_WARM_UP, "trials": 2, "test_start": "2024-01-06"},
        lambda w: {"resume": w.desk.call("optimize", **ONE, settings=SHORT_WARM_UP, trials=1)["job_id"]},
    ],
    "walk_forward": [
        {
            **ONE,
            "end_date": "2024-01-09",
            "settings": SHORT_WARM_UP,
            "train_days": 2,
            "test_days": 1,
            "step_days": 2,
            "anchored": True,
            "purge_days": 1,
            "keep_partial": False,
            "metric": "net_profit",
            "space": {"every": {"min": 2, "max": 8, "step": 2}},
            "trials": 2,
            "sampler": "random",
            "seed": 3,
            "min_trades": 1,
            "wait_seconds": 60,
        },
        lambda w: {
            "resume": w.desk.call(
                "walk_forward", **ONE, settings=SHORT_WARM_UP, train_days=2, test_days=3, trials=0
            )["job_id"]
        },
    ],
    "run_list": [{"strategy": "Mine", "symbol": "btc/usdt", "kind": "any", "limit": 1, "offset": 1}],
    "run_get": [
        lambda w: {
            "run_id": w.runs[0],
            "include": ["trades", "orders", "equity", "log", "provenance"],
            "limit": 2,
            "offset": 1,
        }
    ],
    "run_compare": [lambda w: {"run_ids": w.runs, "metrics": ["total", "fee"]}],
    "monte_carlo": [
        lambda w: {
            "run_id": w.runs[0],
            "method": "returns_block",
            "simulations": 50,
            "seed": 3,
            "block_length": 2,
            "ruin_threshold": 0.9,
            "quantiles": [0.1, 0.9],
            "wait_seconds": 30,
        },
        lambda w: {
            "run_id": w.runs[0],
            "method": "candles",
            "simulations": 2,
            "pipeline": "gaussian_noise",
            "pipeline_parameters": {
                "batch_size": 1440,
                "close_sigma": 0.001,
                "high_sigma": 0,
                "low_sigma": 0,
            },
            "engine": "embedded",
        },
    ],
    "significance_test": [
        lambda w: {
            "run_id": w.runs[0],
            "trials": 500,
            "benchmark_sharpe": 0.5,
            "confidence": 0.9,
            "splits": 2,
            "seed": 4,
            "wait_seconds": 30,
        },
        lambda w: {"run_ids": w.runs},
        {"returns": [0.01, -0.02, 0.015] * 20, "periods_per_year": 252, "trials": 3},
        {"balances": [[1_704_067_200_000 + day * 86_400_000, 100 + day % 3] for day in range(40)]},
        {
            "market": {
                "exchange": EXCHANGE,
                "symbols": ["BTC-USDT"],
                "timeframe": "1h",
                "start_date": "2024-01-01",
                "end_date": "2024-01-08",
            }
        },
        lambda w: {"session_id": w.ended_session()},
    ],
    "risk_report": [
        lambda w: {
            "run_id": w.runs[0],
            "limits": {"max_drawdown": 0.2, "min_trades": 30},
            "trials": 500,
            "format": "html",
        },
        {"returns": [0.01, -0.02, 0.015] * 20, "periods_per_year": 252, "trials": 3, "format": "markdown"},
        {"balances": [[1_704_067_200_000 + day * 86_400_000, 100 + day % 3] for day in range(40)]},
        {
            "market": {
                "exchange": EXCHANGE,
                "symbols": ["BTC-USDT"],
                "timeframe": "1h",
                "start_date": "2024-01-01",
                "end_date": "2024-01-08",
            }
        },
        lambda w: {"session_id": w.ended_session()},
    ],
    "stress_test": [
        lambda w: {
            "run_id": w.runs[0],
            "scenarios": ["covid_2020"],
            "shocks": {"BTC-USDT": -0.3},
            "volatility_multiplier": 1.5,
            "correlation": 0.5,
            "leverage": 4,
            "rerun": ["crises", "fees", "slippage"],
            "fee_multipliers": [2],
            "slippage_bps": [3],
            "wait_seconds": 60,
        },
        {"returns": [0.01, -0.02, 0.015] * 10, "periods_per_year": 252},
        {"balances": [[1_704_067_200_000 + day * 86_400_000, 100 + day % 3] for day in range(40)]},
        {
            "market": {
                "exchange": EXCHANGE,
                "symbols": ["BTC-USDT", "ETH-USDT"],
                "start_date": "2024-01-01",
                "end_date": "2024-01-08",
            },
            "correlation": [[1, 0.9], [0.9, 1]],
        },
        lambda w: {"session_id": w.ended_session()},
    ],
    "var_calculation": [
        lambda w: {
            "run_id": w.runs[0],
            "methods": ["historical", "monte_carlo_t"],
            "confidence": [0.9],
            "horizon": [1, 3],
            "backtest": True,
            "window": 20,
            "seed": 4,
            "value": 1_000,
            "wait_seconds": 30,
        },
        {"returns": [0.01, -0.02, 0.015] * 10, "periods_per_year": 252},
        {"balances": [[1_704_067_200_000 + day * 86_400_000, 100 + day % 3] for day in range(40)]},
        {
            "market": {
                "exchange": EXCHANGE,
                "symbols": ["BTC-USDT", "ETH-USDT"],
                "timeframe": "1h",
                "start_date": "2024-01-01",
                "end_date": "2024-01-08",
            }
        },
        lambda w: {"session_id": w.ended_session()},
    ],
    "analyze_results": [
        lambda w: {
            "run_id": w.runs[0],
            "include": [*ANALYSED],
            "risk_free_rate": 0.02,
            "target_return": 0.01,
            "rolling_window": 3,
            "seed": 4,
        },
        {
            "returns": [0.01, -0.02, 0.015] * 10,
            "periods_per_year": 252,
            "include": ["benchmark"],
            "benchmark_returns": [0.02, -0.01, 0.0] * 10,
        },
        {"balances": [[1_704_067_200_000 + day * 86_400_000, 100 + day % 3] for day in range(40)]},
        {
            "market": {
                "exchange": EXCHANGE,
                "symbols": ["BTC-USDT", "ETH-USDT"],
                "weights": [0.7, 0.3],
                "timeframe": "4h",
                "start_date": "2024-01-01",
                "end_date": "2024-01-08",
            }
        },
        lambda w: {"session_id": w.ended_session()},
    ],
    **MARKET_CALLS,
    **PAPER_CALLS,
    "job_list": [{"state": "done", "limit": 1, "offset": 1}],
    "job_get": [lambda w: {"job_id": w.job, "wait_seconds": 1}],
    "job_cancel": [lambda w: {"job_id": w.endless_job()}],
    "system_status": [{}],
}
