"""What a search says of its result, in one sentence."""

from typing import Any

import pytest

from jesse_mcp.services.backtest_request import BacktestArguments
from jesse_mcp.services.optimization_answer import Candidate, verdict
from jesse_mcp.services.optimization_request import OptimizationRequest


def searched(**changes: Any) -> OptimizationRequest:
    """Trained on a hundred days from the start of 2024, tested on the 60 days after them."""
    values: dict[str, Any] = {
        "backtest": BacktestArguments(
            exchange="Binance Spot",
            start_date="2024-01-01",
            end_date="2024-06-09",
            strategy="Mine",
            symbol="BTC-USDT",
            timeframe="1h",
        ),
        "metrics": ("sharpe_ratio:max",),
        "space": (),
        "trials": 20,
        "sampler": "tpe",
        "seed": 0,
        "min_trades": 10,
        "test_start": "2024-04-10",
        "early_stop": None,
        "pruning": False,
        "in_flight": 8,
        "pinned": {},
        "warnings": (),
    }
    return OptimizationRequest(**{**values, **changes})


def best_of(train: float, test: float | None, trades: int | None) -> tuple[Candidate, ...]:
    return (
        Candidate(
            trial=3,
            parameters={},
            train_run_id="one",
            train={"sharpe_ratio": train, "total": 100},
            test_run_id="two",
            test={"sharpe_ratio": test, "total": trades},
            test_missing=None,
        ),
    )


@pytest.mark.parametrize(
    ("train", "test", "says"),
    [
        (1.0, 2.0, "it held outside of what it was fitted to"),
        (2.0, 1.0, "50% of it was left"),
        (2.0, -1.0, "which is overfitting"),
        (-2.0, -3.0, "it was worse outside"),
    ],
)
def test_a_long_test_is_judged(train: float, test: float, says: str) -> None:
    assert says in verdict(searched(), best_of(train, test, 30), 20)


@pytest.mark.parametrize(("train", "test"), [(4.033, 6.312), (2.0, 1.0), (2.0, -1.0)])
@pytest.mark.parametrize(
    ("trades", "test_start", "says"),
    [
        (8, "2024-04-16", "8 trades in 54 days of test are too little to tell"),
        (29, "2024-04-10", "29 trades in 60 days"),
        (None, "2024-04-10", "0 trades in 60 days"),
        (500, "2024-05-11", "500 trades in 29 days"),
    ],
)
def test_a_test_too_small_decides_nothing(
    train: float, test: float, trades: int | None, test_start: str, says: str
) -> None:
    said = verdict(searched(test_start=test_start), best_of(train, test, trades), 20)
    assert says in said
    assert "at least 30 trades and 30 days are needed" in said
    assert f"{train:.4g} in training and {test:.4g}" in said
    assert not any(word in said for word in ("held", "was left", "overfitting"))
