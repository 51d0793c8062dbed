"""Forecasts of value at risk and expected shortfall, each made of the returns before it alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from jesse_mcp.analytics.conditional_volatility import (
    EWMA_LEAST,
    GARCH_LEAST,
    GARCH_MOST,
    Garch,
    Innovations,
    ewma_variances,
    fit_garch,
    garch_variances,
)
from jesse_mcp.analytics.student_t import LEAST_FIT, MOST_FITTED, fit_student_t
from jesse_mcp.analytics.tail_risk import (
    TailRisk,
    empirical_tail,
    nothing,
    standard_normal_tail,
    tail_size,
    unusable,
)
from jesse_mcp.analytics.value_at_risk import (
    cornish_fisher_quantile,
    cornish_fisher_shortfall,
    in_domain,
    too_short,
)

Floats = NDArray[np.float64]
#: GARCH by the forecast it was fitted for.
Fits = dict[tuple[int, Innovations], Garch | str]
RiskMethod = Literal[
    "historical",
    "gaussian",
    "cornish_fisher",
    "monte_carlo_normal",
    "monte_carlo_t",
    "ewma",
    "garch_normal",
    "garch_t",
    "filtered_historical",
    "volatility_weighted",
]

#: Models that take an optimisation are fitted anew so many times at most.
MOST_FITS = 25
#: Floats of the windows handled at a time: 16 MB.
_CHUNK = 2_000_000
_CONSTANT = 1e-12
_LEAST_MOMENTS = 4


@dataclass(frozen=True)
class RollingForecasts:
    """One-period forecasts for the returns from ``first`` on, one row a confidence.

    ``var`` and ``es`` have shape (confidences, n - first), NaN where a forecast could not be made;
    ``reasons`` has for each confidence why there is no forecast at all, or ``None``; ``remark`` is what has
    to be said about the others.
    """

    first: int
    var: Floats
    es: Floats
    reasons: tuple[str | None, ...]
    remark: str | None = None


def rolling_forecasts(
    method: RiskMethod,
    returns: Floats,
    confidences: Sequence[float],
    window: int,
    fits: Fits | None = None,
) -> RollingForecasts:
    """Forecasts of ``method`` for every return, made of the ``window`` returns before it.

    Args:
        returns: shape (n,).
        window: returns a forecast is made of. EWMA takes all before, whose weights fade; volatility
            weighting takes :data:`~jesse_mcp.analytics.conditional_volatility.EWMA_LEAST` more for its first
            volatility. Simulated methods have their closed form at one period.
        fits: of GARCH that were made for the same returns and window; what is made here is added.
    """
    spare = EWMA_LEAST if method == "volatility_weighted" else 0
    first = window + spare
    reason = unusable(returns) or _window_too_short(method, window)
    if reason is None and len(returns) <= first:
        reason = f"{len(returns)} returns leave nothing to forecast after the first {first}"
    if reason is not None:
        empty = np.empty((len(confidences), 0))
        return RollingForecasts(first, empty, empty, (reason,) * len(confidences))
    reasons: tuple[str | None, ...] = (None,) * len(confidences)
    if method in {"historical", "filtered_historical", "volatility_weighted"}:
        reasons = tuple(too_short(window, confidence) for confidence in confidences)
    with np.errstate(all="ignore"):
        var, es, remark = _forecasts(method, returns, confidences, window, {} if fits is None else fits)
    usable = np.isfinite(var) & np.isfinite(es)
    usable &= np.array([reason is None for reason in reasons])[:, None]
    # Rounding may put a mean of the tail a bit above its end.
    es = np.maximum(es, var)
    var[~usable], es[~usable] = np.nan, np.nan
    return RollingForecasts(first, var, es, reasons, remark)


def _window_too_short(method: RiskMethod, window: int) -> str | None:
    least = {
        "gaussian": 2,
        "monte_carlo_normal": 2,
        "cornish_fisher": _LEAST_MOMENTS,
        "monte_carlo_t": LEAST_FIT,
        "ewma": EWMA_LEAST,
        "garch_normal": GARCH_LEAST,
        "garch_t": GARCH_LEAST,
        "filtered_historical": GARCH_LEAST,
    }.get(method, 1)
    return None if window >= least else f"the window of {window} returns is too short: it needs {least}"


def _forecasts(
    method: RiskMethod, returns: Floats, confidences: Sequence[float], window: int, fits: Fits
) -> tuple[Floats, Floats, str | None]:
    if method == "historical":
        return *_historical(returns, confidences, window), None
    if method in {"gaussian", "monte_carlo_normal"}:
        return *_gaussian(returns, confidences, window), None
    if method == "cornish_fisher":
        return *_cornish_fisher(returns, confidences, window), None
    if method == "ewma":
        deviations = np.sqrt(ewma_variances(returns)[window - 1 : -1])
        rows = [standard_normal_tail(confidence) for confidence in confidences]
        var = np.array([-quantile * deviations for quantile, _ in rows])
        return var, np.array([shortfall * deviations for _, shortfall in rows]), None
    if method == "volatility_weighted":
        deviations = np.sqrt(ewma_variances(returns)[EWMA_LEAST - 1 : -1])
        var, es = _historical(returns[EWMA_LEAST:] / deviations, confidences, window)
        return var * deviations[window:], es * deviations[window:], None
    return _refitted(method, returns, confidences, window, fits)


def _windows(returns: Floats, window: int) -> Iterator[tuple[slice, Floats]]:
    """Blocks of windows, each with the forecasts it is for; the window of the last return has none."""
    windows = sliding_window_view(returns, window)[:-1]
    rows = max(1, _CHUNK // window)
    for at in range(0, len(windows), rows):
        yield slice(at, min(at + rows, len(windows))), windows[at : at + rows]


def _historical(returns: Floats, confidences: Sequence[float], window: int) -> tuple[Floats, Floats]:
    sizes = [tail_size(window, confidence) for confidence in confidences]
    deepest = min(int(max(sizes)), window - 1)
    var = np.empty((len(confidences), len(returns) - window))
    es = np.empty_like(var)
    for at, block in _windows(returns, window):
        worst = np.partition(block, deepest, axis=1)[:, : deepest + 1]
        worst.sort(axis=1)
        for row, size in enumerate(sizes):
            whole = min(int(size), window - 1)
            threshold = worst[:, whole]
            beyond = (worst[:, :whole] - threshold[:, None]).sum(axis=1)
            var[row, at], es[row, at] = -threshold, -(threshold + beyond / size)
        undefined = ~np.isfinite(block).all(axis=1)
        var[:, at][:, undefined] = np.nan
    return var, es


def _gaussian(returns: Floats, confidences: Sequence[float], window: int) -> tuple[Floats, Floats]:
    means, deviations = np.empty(len(returns) - window), np.empty(len(returns) - window)
    for at, block in _windows(returns, window):
        constant = _constant(block)
        means[at] = np.where(constant, block[:, 0], block.mean(axis=1))
        deviations[at] = np.where(constant, 0.0, block.std(axis=1, ddof=1))
    rows = [standard_normal_tail(confidence) for confidence in confidences]
    var = np.array([-(means + deviations * quantile) for quantile, _ in rows])
    return var, np.array([-(means - deviations * shortfall) for _, shortfall in rows])


def _cornish_fisher(returns: Floats, confidences: Sequence[float], window: int) -> tuple[Floats, Floats]:
    var = np.full((len(confidences), len(returns) - window), np.nan)
    es = np.full_like(var, np.nan)
    for at, block in _windows(returns, window):
        means = block.mean(axis=1)
        centred = block - means[:, None]
        squares = centred * centred
        variances = squares.mean(axis=1)
        skewness = (squares * centred).mean(axis=1) / variances**1.5
        kurtosis = (squares * squares).mean(axis=1) / variances**2 - 3.0
        deviations = np.sqrt(variances * window / (window - 1))
        inside = in_domain(skewness, kurtosis) & ~_constant(block)
        for row, confidence in enumerate(confidences):
            normal, _ = standard_normal_tail(confidence)
            quantiles = cornish_fisher_quantile(normal, skewness, kurtosis)
            below = cornish_fisher_shortfall(confidence, skewness, kurtosis)
            var[row, at] = np.where(inside, -(means + deviations * quantiles), np.nan)
            es[row, at] = -(means - deviations * below)
    return var, es


def _constant(block: Floats) -> NDArray[np.bool_]:
    low, high = block.min(axis=1), block.max(axis=1)
    constant: NDArray[np.bool_] = high - low <= _CONSTANT * np.maximum(np.abs(low), np.abs(high))
    return constant


def _refitted(
    method: RiskMethod, returns: Floats, confidences: Sequence[float], window: int, fits: Fits
) -> tuple[Floats, Floats, str]:
    """Models fitted anew after every ``step`` returns; their variance is brought up to date every period."""
    count = len(returns) - window
    step = math.ceil(count / MOST_FITS)
    var, es = np.full((len(confidences), count), np.nan), np.full((len(confidences), count), np.nan)
    count_of_fits, failed = 0, ""
    innovations: Innovations = "t" if method == "garch_t" else "normal"
    for at in range(0, count, step):
        end = min(at + step, count)
        known, into = returns[at : end + window - 1], (var[:, at:end], es[:, at:end])
        if method == "monte_carlo_t":
            reason = _student_t(known[:window], confidences, into)
        else:
            if (at, innovations) not in fits:
                fits[at, innovations] = fit_garch(known[:window], innovations)
            reason = _garch(method, fits[at, innovations], known[window:], confidences, into)
        count_of_fits += 1
        failed = failed or (reason or "")
    most = MOST_FITTED if method == "monte_carlo_t" else GARCH_MOST
    used = min(window, most)
    remark = f"fitted {count_of_fits} times to the last {used} returns, every {step} forecasts"
    return var, es, f"{remark}; some fits failed: {failed}" if failed else remark


def _student_t(returns: Floats, confidences: Sequence[float], into: tuple[Floats, Floats]) -> str | None:
    model = fit_student_t(returns)
    if isinstance(model, str):
        return model
    for row, confidence in enumerate(confidences):
        tail = model.tail(confidence)
        into[0][row], into[1][row] = _number(tail.var), _number(tail.es)
    return None


def _garch(
    method: RiskMethod,
    model: Garch | str,
    later_returns: Floats,
    confidences: Sequence[float],
    into: tuple[Floats, Floats],
) -> str | None:
    if isinstance(model, str):
        return model
    later = garch_variances(model, later_returns, model.next_variance)
    deviations = np.sqrt(np.concatenate(([model.next_variance], later)))
    for row, confidence in enumerate(confidences):
        # Of mean zero and variance one: every period's tail is this one, moved and scaled.
        tail = _standard_tail(model, method, confidence)
        into[0][row] = -model.mean + deviations * _number(tail.var)
        into[1][row] = -model.mean + deviations * _number(tail.es)
    return None


def _standard_tail(model: Garch, method: RiskMethod, confidence: float) -> TailRisk:
    if method == "filtered_historical":
        reason = too_short(model.fitted, confidence)
        return nothing(reason) if reason else TailRisk(*empirical_tail(model.residuals, confidence))
    tail = model.tail(confidence, 1.0)
    if tail.var is None or tail.es is None:
        return tail
    return TailRisk(tail.var + model.mean, tail.es + model.mean)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
