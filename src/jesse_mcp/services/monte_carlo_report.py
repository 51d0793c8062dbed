"""Simulated histories as an answer: distributions, probabilities, and what they say in plain words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from jesse_mcp.analytics.distributions import Proportion, describe, proportion
from jesse_mcp.analytics.equity_paths import PathStatistics
from jesse_mcp.domain.model import Value
from jesse_mcp.services.monte_carlo_request import MonteCarloArguments, MonteCarloMethod

_FEW = 30
_OVERFLOW = "a simulated value leaves the range of a floating point number"
_CLOSED = (
    "; drawdowns are those of the balance after each closed trade, without what open positions lose in "
    "between, so they are not Jesse's max_drawdown, which is of daily balances"
)
_DISTRIBUTIONS = ("final_balance", "total_return", "max_drawdown")
_PROBABILITIES = ("ruin", "loss")

CONVENTIONS: dict[MonteCarloMethod, str] = {
    "trades_shuffle": (
        "profits of closed trades in random order, added to the starting balance; their sum, and so the "
        f"final balance, is the same in every order; a balance of zero is final{_CLOSED}"
    ),
    "trades_bootstrap": (
        "as many closed trades drawn with replacement, profits added to the starting balance; a balance of "
        f"zero is final{_CLOSED}"
    ),
    "returns_block": (
        "daily returns in blocks of fixed length (circular block bootstrap), compounded; a balance of zero "
        "is final"
    ),
    "returns_stationary": (
        "daily returns in blocks of random length (stationary bootstrap), compounded; a balance of zero is "
        "final"
    ),
    "candles": (
        "the strategy run again by Jesse on candles altered by its pipeline; balances are Jesse's daily ones"
    ),
}


class Quantity(Value):
    original: float = Field(description="of the run")
    percentile_of_original: float = Field(description="percent of histories below it, ties half")
    mean: float
    standard_deviation: float
    quantiles: dict[str, float]


class Probability(Value):
    value: float
    standard_error: float = Field(description="of the simulation, not of the market")
    low_95: float
    high_95: float


class MonteCarloResult(Value):
    """Fractions, not percent; money in the quote currency. Jesse's metrics are in its own units."""

    request: dict[str, Any]
    convention: str
    simulations: int
    sample_size: int = Field(description="trades, daily returns, or scenarios")
    block_length: float | None = Field(description="days")
    pipeline: dict[str, Any] | None
    starting_balance: float
    ruin_balance: float = Field(description="at or below it at any time is ruin")
    distributions: dict[str, Quantity | None] = Field(
        description="final_balance, total_return, max_drawdown (0 to 1); for candles Jesse's metrics too"
    )
    probabilities: dict[str, Probability | None] = Field(description="ruin, loss")
    undefined: dict[str, str] = Field(description="why one is null")
    failed: tuple[dict[str, Any], ...]
    extremes: dict[str, str] = Field(description="run ids of the worst and the best scenario")
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """What an analysis found, before it is described.

    ``reason`` says why there is nothing; ``paths`` and ``original`` are ``None`` then.
    """

    sample_size: int
    paths: PathStatistics | None = None
    original: PathStatistics | None = None
    reason: str | None = None
    block_length: float | None = None
    pipeline: dict[str, Any] | None = None
    metrics: dict[str, tuple[NDArray[np.float64], float | None]] = field(default_factory=dict)
    failed: tuple[dict[str, Any], ...] = ()
    extremes: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def report(arguments: MonteCarloArguments, starting_balance: float, found: Evidence) -> MonteCarloResult:
    """Describe the evidence."""
    ruin_balance = arguments.ruin_threshold * starting_balance
    distributions: dict[str, Quantity | None] = dict.fromkeys(_DISTRIBUTIONS)
    probabilities: dict[str, Probability | None] = dict.fromkeys(_PROBABILITIES)
    undefined: dict[str, str] = {}
    findings = list(found.remarks)
    simulations = 0
    if found.paths is None or found.original is None:
        reason = found.reason or "nothing was simulated"
        undefined |= dict.fromkeys((*_DISTRIBUTIONS, *_PROBABILITIES), reason)
        findings.insert(0, f"nothing could be simulated: {reason}")
    else:
        simulations = len(found.paths.final_balance)
        distributions = _distributions(arguments, starting_balance, found.paths, found.original)
        undefined |= {name: _OVERFLOW for name, value in distributions.items() if value is None}
        loss = proportion(int((found.paths.final_balance < starting_balance).sum()), simulations)
        ruin = _ruin(found.paths, ruin_balance)
        probabilities = {"ruin": _probability(ruin), "loss": _probability(loss)}
        findings = _findings(arguments, ruin_balance, found, found.paths, found.original) + findings
    metrics, lacking = _metrics(found.metrics, arguments.quantiles, simulations)
    return MonteCarloResult(
        request=arguments.model_dump(mode="json", exclude_none=True),
        convention=CONVENTIONS[arguments.method],
        simulations=simulations,
        sample_size=found.sample_size,
        block_length=found.block_length,
        pipeline=found.pipeline,
        starting_balance=starting_balance,
        ruin_balance=ruin_balance,
        distributions=distributions | metrics,
        probabilities=probabilities,
        undefined=undefined | lacking,
        failed=found.failed,
        extremes=found.extremes,
        findings=tuple(findings),
    )


def _distributions(
    arguments: MonteCarloArguments, start: float, paths: PathStatistics, original: PathStatistics
) -> dict[str, Quantity | None]:
    final, finished = paths.final_balance, float(original.final_balance[0])
    levels = arguments.quantiles
    return {
        "final_balance": _quantity(final, finished, levels),
        "total_return": _quantity(final / start - 1, finished / start - 1, levels),
        "max_drawdown": _quantity(paths.max_drawdown, float(original.max_drawdown[0]), levels),
    }


def _ruin(paths: PathStatistics, ruin_balance: float) -> Proportion:
    return proportion(int((paths.lowest_balance <= ruin_balance).sum()), len(paths.lowest_balance))


def _quantity(values: NDArray[np.float64], original: float, levels: Sequence[float]) -> Quantity | None:
    found = describe(values, original, levels)
    if found is None:
        return None
    return Quantity(
        original=found.original,
        percentile_of_original=found.percentile_of_original,
        mean=found.mean,
        standard_deviation=found.standard_deviation,
        quantiles={f"{level:g}": value for level, value in zip(levels, found.quantiles, strict=True)},
    )


def _probability(found: Proportion) -> Probability:
    return Probability(
        value=found.value, standard_error=found.standard_error, low_95=found.low, high_95=found.high
    )


def _metrics(
    found: dict[str, tuple[NDArray[np.float64], float | None]], levels: Sequence[float], scenarios: int
) -> tuple[dict[str, Quantity | None], dict[str, str]]:
    metrics: dict[str, Quantity | None] = {}
    undefined: dict[str, str] = {}
    for name, (values, original) in found.items():
        if original is None:
            metrics[name] = None
            undefined[name] = "Jesse has no such number for the run itself"
            continue
        metrics[name] = _quantity(values, original, levels)
        if len(values) < scenarios:
            undefined[name] = f"Jesse has it for {len(values)} of {scenarios} scenarios; those are described"
        elif metrics[name] is None:
            undefined[name] = _OVERFLOW
    return metrics, undefined


def _findings(
    arguments: MonteCarloArguments,
    ruin_balance: float,
    found: Evidence,
    paths: PathStatistics,
    original: PathStatistics,
) -> list[str]:
    findings = [_on_drawdown(arguments.method, paths, float(original.max_drawdown[0]))]
    findings.append(_on_ruin(_ruin(paths, ruin_balance), len(paths.lowest_balance), ruin_balance))
    if arguments.method == "trades_shuffle":
        findings.append(_on_order(paths))
    if arguments.method == "candles":
        findings += _on_candles(paths, float(original.final_balance[0]))
    if found.sample_size < _FEW:
        sample = "scenarios" if arguments.method == "candles" else arguments.method.partition("_")[0]
        findings.append(f"only {found.sample_size} {sample}: the outer quantiles are rough")
    return findings


def _on_order(paths: PathStatistics) -> str:
    said = "the order of trades does not change what they earn: only the way there is random"
    wiped = int((paths.lowest_balance <= 0).sum())
    if not wiped:
        return said
    return f"{said}, save for {wiped} of {len(paths.lowest_balance)} orders that lost everything on the way"


def _on_drawdown(method: MonteCarloMethod, paths: PathStatistics, original: float) -> str:
    shown = describe(paths.max_drawdown, original, (0.5, 0.95))
    if shown is None:
        return "the drawdowns could not be described"
    middle, deep = shown.quantiles
    rank = shown.percentile_of_original
    basis = "of closed trades" if method.startswith("trades_") else "of daily balances"
    luck = "lucky" if rank <= 25 else "unlucky" if rank >= 75 else "typical"
    return (
        f"the run's worst drawdown {basis} of {original:.1%} is deeper than in {rank:.0f} % of the histories "
        f"({luck}): half of them fell {middle:.1%} or more, one in twenty {deep:.1%} or more"
    )


def _on_ruin(ruin: Proportion, histories: int, ruin_balance: float) -> str:
    if ruin.value == 0:
        return (
            f"none of {histories:,} histories fell to {ruin_balance:,.2f}: the probability is below "
            f"{ruin.high:.2%} with 95 % confidence"
        )
    return (
        f"{ruin.value:.2%} of {histories:,} histories fell to {ruin_balance:,.2f} or below "
        f"(simulation error {ruin.standard_error:.2%})"
    )


def _on_candles(paths: PathStatistics, original: float) -> list[str]:
    shown = describe(paths.final_balance, original, (0.5,))
    if shown is None or shown.percentile_of_original < 95:
        return []
    return [
        f"the run earned more than {shown.percentile_of_original:.0f} % of its repetitions on altered "
        "candles: its profit hangs on particulars of the real ones"
    ]


def balances_differ(explained: float, reported: float) -> bool:
    """More than rounding apart."""
    return not math.isclose(explained, reported, rel_tol=1e-6)
