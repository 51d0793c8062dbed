"""What a walk-forward analysis says: one out-of-sample equity, efficiency, stability, a verdict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["robust", "weak", "failed", "undecided"]

DAYS_A_YEAR = 365
#: Pardo asks for at least half of the in-sample performance out of sample.
ROBUST_EFFICIENCY = 0.5
ROBUST_SHARE = 0.6
#: Fewer tests, or fewer trades in all of them, decide nothing.
ENOUGH_WINDOWS = 3
ENOUGH_TRADES = 30
#: A strategy that breaks off where it would lose must not look better for it.
MISSING_SHARE = 0.2

THRESHOLDS = (
    f"undecided below {ENOUGH_WINDOWS} tests or {ENOUGH_TRADES} trades in all of them, or when more than "
    f"{MISSING_SHARE:.0%} of the windows have no test; failed when the out-of-sample return is not positive; "
    f"robust when efficiency is at least {ROBUST_EFFICIENCY:g} and {ROBUST_SHARE:.0%} of the windows are "
    "profitable, one without a test counting as not; else weak"
)


@dataclass(frozen=True)
class Efficiency:
    """``value`` is ``None`` with a ``reason``; the annual returns are fractions, ``None`` after ruin."""

    value: float | None
    in_sample_annual: float | None
    out_of_sample_annual: float | None
    reason: str | None


@dataclass(frozen=True)
class Dispersion:
    """How much a parameter changed from window to window.

    ``distinct`` values; ``share_of_most_common`` of the windows; ``standard_deviation`` (divided by n) and
    ``coefficient_of_variation`` for numbers, ``None`` for others and for a mean of zero.
    """

    distinct: int
    share_of_most_common: float
    standard_deviation: float | None
    coefficient_of_variation: float | None


def stitched(tests: Sequence[NDArray[np.float64]], starting_balance: float) -> NDArray[np.float64]:
    """One equity over all tests: each begins with the balance the one before it ended with.

    Args:
        tests: daily returns of each test as fractions, oldest first, shapes (n_i,).
        starting_balance: positive.

    Returns:
        The starting balance, then the balance after each day, shape (1 + sum of n_i,). A return of -1 or
        less is the end: the balance stays zero.
    """
    returns = np.concatenate([np.empty(0), *tests])
    factors = np.maximum(1.0 + returns, 0.0)
    return np.concatenate(([1.0], np.multiply.accumulate(factors))) * starting_balance


def daily_returns(balances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative changes from day to day; what reaches zero has lost everything, and has no further return.

    Args:
        balances: oldest first, shape (n,).

    Returns:
        Fractions, shape (n - 1,), or up to the loss of everything, which is a return of -1.
    """
    gone = np.flatnonzero(balances <= 0)
    kept = balances if not len(gone) else np.append(balances[: gone[0]], 0.0)
    return kept[1:] / kept[:-1] - 1


def annual_return(growths: Sequence[float], days: int) -> float | None:
    """The constant yearly growth that makes the same of ``days`` days as all periods one after the other.

    Args:
        growths: final over starting balance of each period.
        days: of all periods together.

    Returns:
        A fraction; ``None`` after ruin, without a day, or beyond the range of a float.
    """
    if days < 1 or not growths or any(not math.isfinite(growth) or growth <= 0 for growth in growths):
        return None
    exponent = math.fsum(math.log(growth) for growth in growths) * DAYS_A_YEAR / days
    return math.expm1(exponent) if exponent < 700 else None


def efficiency(
    in_sample: Sequence[float], in_sample_days: int, out_of_sample: Sequence[float], out_of_sample_days: int
) -> Efficiency:
    """Walk-forward efficiency: annual return out of sample over annual return in sample.

    Args:
        in_sample: final over starting balance of each training, the days of all of them in
            ``in_sample_days``.
        out_of_sample: likewise of each test.

    Returns:
        ``None`` with the reason when a period ended in ruin, or when there was no gain in sample that could
        be kept.

    Source: Pardo, "The Evaluation and Optimization of Trading Strategies", 2nd edition, Wiley 2008,
    chapter 11; annual returns compound here, where Pardo scales them.
    """
    inside = annual_return(in_sample, in_sample_days)
    outside = annual_return(out_of_sample, out_of_sample_days)
    if inside is None or outside is None:
        where = "training" if inside is None else "test"
        return Efficiency(None, inside, outside, f"a {where} period lost everything, or there is none")
    if inside <= 0:
        return Efficiency(
            None, inside, outside, f"the return in sample is {inside:.2%} a year: there is nothing to keep"
        )
    ratio = outside / inside
    if not math.isfinite(ratio):
        return Efficiency(None, inside, outside, "the return in sample is too small to divide by")
    return Efficiency(ratio, inside, outside, None)


def profitable_share(out_of_sample: Sequence[float]) -> float | None:
    """Share of tests that ended above their start; ``None`` without any."""
    if not out_of_sample:
        return None
    return sum(growth > 1 for growth in out_of_sample) / len(out_of_sample)


def dispersion(chosen: Sequence[Mapping[str, object]]) -> dict[str, Dispersion]:
    """For each parameter, how the choices of the windows differ; windows without it do not count for it."""
    names = dict.fromkeys(name for choice in chosen for name in choice)
    return {name: _dispersion([choice[name] for choice in chosen if name in choice]) for name in names}


def undecided(windows: int, trades: int, missing: int = 0) -> str | None:
    """Why so many tests with so many trades in all decide nothing, or ``None`` when they are enough.

    Args:
        missing: windows without a test.
    """
    if missing > MISSING_SHARE * (windows + missing):
        return f"{missing} of {windows + missing} windows have no test, which is too many for a verdict"
    if windows >= ENOUGH_WINDOWS and trades >= ENOUGH_TRADES:
        return None
    return (
        f"{windows} tests with {trades} trades in all are too little for a verdict: at least "
        f"{ENOUGH_WINDOWS} tests and {ENOUGH_TRADES} trades are needed"
    )


def verdict(
    windows: int,
    trades: int,
    out_of_sample_growth: float,
    share: float | None,
    wfe: float | None,
    missing: int = 0,
) -> Verdict:
    """By :data:`THRESHOLDS`; what is ``None`` reaches no threshold.

    Args:
        windows: tests that were run.
        trades: closed in all of them.
        out_of_sample_growth: final over starting balance of the stitched equity.
        share: of profitable tests among those run.
        wfe: walk-forward efficiency.
        missing: windows without a test.
    """
    if undecided(windows, trades, missing) or share is None:
        return "undecided"
    if not out_of_sample_growth > 1:
        return "failed"
    profitable = share * windows / (windows + missing)
    robust = wfe is not None and wfe >= ROBUST_EFFICIENCY and profitable >= ROBUST_SHARE
    return "robust" if robust else "weak"


def _dispersion(values: list[object]) -> Dispersion:
    # True equals 1 in Python, and is another value to a strategy.
    marks = [(type(value) is bool, value) for value in values]
    counts = [marks.count(mark) for mark in marks]
    distinct = len({repr(mark) if mark[0] else mark[1] for mark in marks})
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    deviation = variation = None
    if len(numbers) == len(values):
        # All equal is no spread at all, whatever rounding makes of their mean.
        deviation = 0.0 if distinct == 1 else float(np.std(numbers))
        mean = float(np.mean(numbers))
        if mean != 0:
            variation = deviation / abs(mean)
    return Dispersion(distinct, max(counts) / len(values), deviation, variation)
