"""What every method of finding regimes answers: one fit, and the regimes it sees up to each period."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

#: A label where there is none.
UNKNOWN = -1
#: Fewer periods are no regime: a fit that leaves one with less is refused.
LEAST_PERIODS = 10
#: Periods of the rolling volatility some methods look at.
VOLATILITY_WINDOW = 20
#: A return or deviation that is rounding beside the others.
_ROUNDING = 1e-9

Pause = Callable[[], None]


@dataclass(frozen=True)
class Classified:
    """Regimes by what is known at the end of each period.

    Attributes:
        labels: 0 is the regime of the lowest volatility, :data:`UNKNOWN` where there is none, shape (n,).
        probabilities: filtered, shape (n, k); NaN where there is no label; ``None`` of a method without any.
    """

    labels: Labels
    probabilities: Floats | None


class RegimeFit(Protocol):
    """Parameters estimated from some returns; regimes are ordered by volatility, the lowest first.

    Attributes:
        transition: from the regime of the row to that of the column, shape (k, k); a row is NaN when the
            regime was never left by a period.
        means: of the returns of a period, shape (k,).
        volatilities: standard deviations of the returns of a period, shape (k,).
        log_likelihood: ``None`` of a method without a likelihood.
        free_parameters: how many numbers were estimated.
    """

    @property
    def transition(self) -> Floats: ...
    @property
    def means(self) -> Floats: ...
    @property
    def volatilities(self) -> Floats: ...
    @property
    def log_likelihood(self) -> float | None: ...
    @property
    def free_parameters(self) -> int: ...

    def classify(self, returns: Floats) -> Classified:
        """Regimes of returns that begin where those of the fit began; later ones change no earlier one."""
        ...


def unusable(returns: Floats) -> str | None:
    """Why nothing can be fitted to ``returns``, or ``None``."""
    if len(returns) < 2:
        return f"there are {len(returns)} returns"
    if not np.isfinite(returns).all():
        return "a return is not a finite number"
    largest = float(np.abs(returns).max())
    if float(np.ptp(returns)) <= _ROUNDING * largest:
        return "the returns do not vary"
    return None


def rolling_log_volatility(returns: Floats) -> Floats:
    """Logarithm of the standard deviation (ddof=1) of the last :data:`VOLATILITY_WINDOW` returns.

    Returns:
        Shape (n,); NaN before the first whole window, minus infinity where the returns do not vary.
    """
    found = np.full(len(returns), np.nan)
    if len(returns) >= VOLATILITY_WINDOW:
        windows = np.lib.stride_tricks.sliding_window_view(returns, VOLATILITY_WINDOW)
        deviations = windows.std(axis=1, ddof=1)
        flat = np.ptp(windows, axis=1) <= _ROUNDING * np.abs(windows).max(axis=1)
        with np.errstate(divide="ignore"):
            found[VOLATILITY_WINDOW - 1 :] = np.log(np.where(flat, 0.0, deviations))
    return found


def transitions_of(labels: Labels, k: int) -> Floats:
    """Share of the periods after each regime that were in each regime, shape (k, k); NaN rows without any."""
    counts = np.zeros((k, k))
    known = (labels[:-1] != UNKNOWN) & (labels[1:] != UNKNOWN)
    np.add.at(counts, (labels[:-1][known], labels[1:][known]), 1.0)
    sums = counts.sum(axis=1, keepdims=True)
    return np.where(sums > 0, counts / np.maximum(sums, 1.0), np.nan)


def moments_by_label(returns: Floats, labels: Labels, k: int) -> tuple[Floats, Floats]:
    """Means and standard deviations (ddof=1) of the returns of each label; NaN for fewer than two."""
    means, deviations = np.full(k, np.nan), np.full(k, np.nan)
    for regime in range(k):
        own = returns[labels == regime]
        if len(own) > 1:
            means[regime], deviations[regime] = own.mean(), own.std(ddof=1)
    return means, deviations


def bic(log_likelihood: float, free_parameters: int, periods: int) -> float:
    """Bayesian information criterion, lower is better.

    Source: Schwarz, "Estimating the Dimension of a Model", Annals of Statistics 6, 1978.
    """
    return -2.0 * log_likelihood + free_parameters * float(np.log(periods))
