"""What a walk forward found: a table of windows, one equity, and what to make of them."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from jesse_mcp.analytics import walk_forward as analytics
from jesse_mcp.analytics.equity_paths import path_statistics
from jesse_mcp.domain.jobs import JobState
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.search import Point, size_of
from jesse_mcp.services.campaign import Metrics
from jesse_mcp.services.trial_evaluation import number
from jesse_mcp.services.walk_forward_request import Period, WalkForwardRequest

_SHOWN = ("total", "net_profit_percentage", "max_drawdown", "sharpe_ratio", "win_rate")
_EQUITY_POINTS = 150
#: With fewer, a choice says more of the points that were drawn than of the market.
ENOUGH_TRIALS = 20


@dataclass(frozen=True)
class Leg:
    """A run over the training or the test of a window."""

    run_id: str
    metrics: Metrics
    balances: NDArray[np.float64]

    @property
    def growth(self) -> float:
        """Final over first daily balance; zero after the loss of everything."""
        return float(np.prod(1 + analytics.daily_returns(self.balances)))

    @property
    def trades(self) -> int:
        """Closed ones; Jesse counts none for a run without any."""
        return int(number(self.metrics, "total") or 0)


@dataclass(frozen=True)
class Walked:
    """A window after it was walked; ``missing`` says why it has no test."""

    period: Period
    parameters: Point | None = None
    train: Leg | None = None
    test: Leg | None = None
    missing: str | None = None
    trials: int = 0
    seed: int | None = None


class WindowLine(Value):
    train: str
    test: str
    partial: bool
    parameters: dict[str, Any] | None
    train_run_id: str | None
    train_return: float | None
    train_metrics: dict[str, Any] | None
    test_run_id: str | None
    test_return: float | None
    test_metrics: dict[str, Any] | None
    balance_after: float
    missing: str | None
    seed: int | None = None


class WalkForwardResult(Value):
    """Returns are fractions; metrics are Jesse's, in its units."""

    rule: str
    verdict: str = Field(description="robust, weak, failed or undecided")
    thresholds: str
    findings: tuple[str, ...]
    efficiency: float | None = Field(description="annual return out of sample over in sample")
    in_sample_annual_return: float | None
    out_of_sample_annual_return: float | None
    profitable_share: float | None = Field(description="of the tested windows")
    out_of_sample: dict[str, float] = Field(description="of the stitched equity; max_drawdown 0 to 1")
    equity: tuple[tuple[int, float], ...] = Field(description="tested day, balance; thinned when long")
    parameters: dict[str, dict[str, Any]] = Field(description="how the choices differ")
    windows: tuple[WindowLine, ...]
    counts: dict[str, int]
    undefined: dict[str, str]
    warnings: tuple[str, ...]


class WalkForwardAnswer(Value):
    state: JobState
    job_id: str
    progress: float | None = None
    message: str | None = None
    result: WalkForwardResult | None = Field(description="null until the job is done")


def result_of(request: WalkForwardRequest, walked: list[Walked], ledger: int) -> WalkForwardResult:
    """Everything that follows from the windows."""
    start = request.backtest.starting_balance
    tested = [window for window in walked if window.test is not None and window.train is not None]
    equity = analytics.stitched([_returns(window) for window in tested], start)
    inside = [window.train.growth for window in tested if window.train]
    outside = [window.test.growth for window in tested if window.test]
    found = analytics.efficiency(
        inside,
        sum(_days(w.period.train_start, w.period.train_end) for w in tested),
        outside,
        sum(_days(w.period.test_start, w.period.test_end) for w in tested),
    )
    share = analytics.profitable_share(outside)
    growth = float(equity[-1] / start)
    trades = sum(window.test.trades for window in tested if window.test)
    missing = len(walked) - len(tested)
    said = analytics.verdict(len(tested), trades, growth, share, found.value, missing)
    undefined = {} if found.reason is None else {"efficiency": found.reason}
    if share is None:
        undefined["profitable_share"] = "no window was tested"
    choices = [window.parameters for window in walked if window.parameters is not None]
    path = path_statistics(equity[None, 1:], start)
    return WalkForwardResult(
        rule=request.rule,
        verdict=said,
        thresholds=analytics.THRESHOLDS,
        findings=tuple(_findings(request, walked, tested, found, growth, trades)),
        efficiency=found.value,
        in_sample_annual_return=found.in_sample_annual,
        out_of_sample_annual_return=found.out_of_sample_annual,
        profitable_share=share,
        out_of_sample={
            "starting_balance": start,
            "final_balance": float(equity[-1]),
            "total_return": growth - 1,
            "max_drawdown": float(path.max_drawdown[0]),
            "days": float(len(equity) - 1),
        },
        equity=_thinned(equity),
        parameters={
            name: {**asdict(spread), "remark": _meaningless(request)}
            for name, spread in analytics.dispersion(choices).items()
        },
        windows=_lines(walked, start),
        counts={
            "windows": len(walked),
            "tested": len(tested),
            "test_trades": trades,
            "trials": sum(window.trials for window in walked),
            "ledger": ledger,
        },
        undefined=undefined,
        warnings=request.warnings,
    )


def _findings(
    request: WalkForwardRequest,
    walked: list[Walked],
    tested: list[Walked],
    found: analytics.Efficiency,
    growth: float,
    trades: int,
) -> list[str]:
    profitable = sum(window.test.growth > 1 for window in tested if window.test)
    findings = [
        f"{profitable} of {len(tested)} tests were profitable; together they returned {growth - 1:.2%}"
    ]
    too_little = analytics.undecided(len(tested), trades, len(walked) - len(tested))
    if too_little is not None:
        findings.insert(0, too_little)
    if found.value is not None:
        findings.append(
            f"out of sample it earned {found.out_of_sample_annual:.2%} a year, {found.value:.0%} of the "
            f"{found.in_sample_annual:.2%} in sample"
        )
    left_out = len(walked) - len(tested)
    if left_out:
        findings.append(
            f"{left_out} of {len(walked)} windows have no test (see missing): the equity leaves them out"
        )
    if request.search is None:
        findings.append("hyperparameters were fixed: training periods chose nothing")
    return findings


def _meaningless(request: WalkForwardRequest) -> str | None:
    """Why the spread of the choices says nothing of their stability, or ``None`` when it does."""
    if request.search is None:
        return "fixed, not chosen"
    trials, points = request.search.trials, size_of(request.search.space)
    if trials >= ENOUGH_TRIALS or (points is not None and points <= trials):
        return None
    return (
        f"{trials} trials per window are too few to tell a stable choice from a chance one: at least "
        f"{ENOUGH_TRIALS}, or every point of the space, are needed"
    )


def _lines(walked: list[Walked], start: float) -> tuple[WindowLine, ...]:
    lines, balance = [], start
    for window in walked:
        period, train, test = window.period, window.train, window.test
        if test is not None and train is not None:
            balance *= test.growth
        lines.append(
            WindowLine(
                train=f"{period.train_start} to {period.train_end}",
                test=f"{period.test_start} to {period.test_end}",
                partial=period.partial,
                parameters=window.parameters,
                train_run_id=train and train.run_id,
                train_return=None if train is None else train.growth - 1,
                train_metrics=None if train is None else _selected(train.metrics),
                test_run_id=test and test.run_id,
                test_return=None if test is None else test.growth - 1,
                test_metrics=None if test is None else _selected(test.metrics),
                balance_after=balance,
                missing=window.missing,
                seed=window.seed,
            )
        )
    return tuple(lines)


def _returns(window: Walked) -> NDArray[np.float64]:
    return np.empty(0) if window.test is None else analytics.daily_returns(window.test.balances)


def _selected(metrics: Metrics) -> Metrics:
    return {name: metrics.get(name) for name in _SHOWN}


def _thinned(equity: NDArray[np.float64]) -> tuple[tuple[int, float], ...]:
    """Evenly, the first and the last day always among them."""
    chosen = np.unique(np.linspace(0, len(equity) - 1, min(len(equity), _EQUITY_POINTS)).round().astype(int))
    return tuple((int(day), float(equity[day])) for day in chosen)


def _days(start: str, end: str) -> int:
    return int((np.datetime64(end) - np.datetime64(start)) / np.timedelta64(1, "D"))
