"""Regimes that no later period changes: parameters of the past only, fitted again on a schedule."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jesse_mcp.analytics.regime_fit import UNKNOWN, Floats, Labels, RegimeFit

#: Of returns, and the fit before.
Fitter = Callable[[Floats, RegimeFit | None], RegimeFit | str]
#: Gets the share that is done; may raise to end the work.
Told = Callable[[float], None]


@dataclass(frozen=True)
class Walk:
    """Labels from the end of the first training on, and how they came about.

    Attributes:
        labels: shape (n,), :data:`~jesse_mcp.analytics.regime_fit.UNKNOWN` in the first training.
        probabilities: filtered, shape (n, k), NaN in the first training; ``None`` of a method without any.
        fits: how many returns each was made of, and its parameters.
        failures: where a fit failed and why; the parameters before went on.
    """

    labels: Labels
    probabilities: Floats | None
    fits: tuple[tuple[int, RegimeFit], ...]
    failures: tuple[tuple[int, str], ...]


def fit_points(n: int, training: int, every: int) -> range:
    """After how many returns parameters are fitted: they do not depend on where the returns end."""
    return range(training, n, every)


def walk(returns: Floats, training: int, every: int, fit: Fitter, told: Told = lambda _: None) -> Walk | str:
    """Fit on the first ``training`` returns, label, fit again on all so far every ``every`` periods.

    Returns:
        The reason when the first fit fails, or no return comes after the first training.
    """
    n = len(returns)
    if n <= training:
        return f"{n} returns end before or with the first training of {training}"
    labels = np.full(n, UNKNOWN, dtype=np.int64)
    probabilities: Floats | None = None
    fits: list[tuple[int, RegimeFit]] = []
    failures: list[tuple[int, str]] = []
    for at in fit_points(n, training, every):
        told(at / n)
        found = fit(returns[:at].copy(), fits[-1][1] if fits else None)
        if isinstance(found, str):
            if not fits:
                return found
            failures.append((at, found))
        else:
            fits.append((at, found))
        end = min(at + every, n)
        seen = fits[-1][1].classify(returns[:end].copy())
        labels[at:end] = seen.labels[at:]
        if seen.probabilities is not None:
            if probabilities is None:
                probabilities = np.full((n, seen.probabilities.shape[1]), np.nan)
            probabilities[at:end] = seen.probabilities[at:]
    return Walk(labels, probabilities, tuple(fits), tuple(failures))
