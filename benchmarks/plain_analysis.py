"""The headline numbers of the analysis tools as a script with NumPy works them out, in a process of its own.

``python plain_analysis.py MAPPED_FILE REPEATS``: seconds of each piece of work, and its numbers to compare,
as JSON on standard output. Reading the closes is part of each piece: the tools read them too.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_A_YEAR = 365 * 1_440
#: What the tool takes for a million returns of the series that is measured.
_RESAMPLES, _BLOCK = 200, 1_206.9


def _returns(path: str) -> NDArray[np.float64]:
    rows = np.memmap(path, dtype="<f8", mode="r").reshape(-1, 6)
    closes = np.array(rows[:, 2])
    returns: NDArray[np.float64] = closes[1:] / closes[:-1] - 1
    return returns


def performance(returns: NDArray[np.float64]) -> dict[str, float]:
    balances = np.concatenate(([1.0], np.cumprod(1 + returns)))
    mean, deviation = returns.mean(), returns.std(ddof=1)
    downside = math.sqrt(np.mean(np.minimum(returns, 0) ** 2))
    return {
        "total_return": float(balances[-1] - 1),
        "annual_volatility": float(deviation * math.sqrt(_A_YEAR)),
        "sharpe_ratio": float(mean / deviation * math.sqrt(_A_YEAR)),
        "sortino_ratio": float(mean / downside * math.sqrt(_A_YEAR)),
        "max_drawdown": float(1 - np.min(balances / np.maximum.accumulate(balances))),
    }


def value_at_risk(returns: NDArray[np.float64]) -> dict[str, float]:
    ordered = np.sort(returns)
    found = {}
    for confidence in (0.95, 0.99):
        tail = len(ordered) * (1 - confidence)
        found[f"historical {confidence}"] = -float(ordered[math.ceil(tail - 1e-6) - 1])
        z = NormalDist().inv_cdf(confidence)
        found[f"gaussian {confidence}"] = float(z * returns.std(ddof=1) - returns.mean())
    return found


def significance(returns: NDArray[np.float64]) -> dict[str, float]:
    deviation, n = returns.std(), len(returns)
    standard = (returns - returns.mean()) / deviation
    sharpe = returns.mean() / returns.std(ddof=1)
    skewness, kurtosis = (standard**3).mean(), (standard**4).mean()
    error = math.sqrt((1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2) / (n - 1))
    means = _bootstrap_means(returns, _RESAMPLES, _BLOCK)
    return {
        "probabilistic_sharpe_ratio": NormalDist().cdf(float(sharpe / error)),
        "p_bootstrap": float((means - returns.mean() >= returns.mean()).mean()),
    }


def _bootstrap_means(returns: NDArray[np.float64], resamples: int, block: float) -> NDArray[np.float64]:
    """Of stationary bootstrap samples: blocks that begin anywhere, with geometric lengths."""
    generator, n = np.random.default_rng(0), len(returns)
    positions, means = np.arange(n), np.empty(resamples)
    for draw in range(resamples):
        begins = generator.random(n) < 1 / block
        begins[0] = True
        first = np.maximum.accumulate(np.where(begins, positions, 0))
        starts = generator.integers(0, n, n)
        means[draw] = returns[(starts[first] + positions - first) % n].mean()
    return means


def stress(returns: NDArray[np.float64]) -> dict[str, float]:
    mean = returns.mean()
    balances = np.concatenate(([1.0], np.cumprod(1 + mean + 2 * (returns - mean))))
    return {"max_drawdown": float(1 - np.min(balances / np.maximum.accumulate(balances)))}


WORK: dict[str, Callable[[NDArray[np.float64]], dict[str, float]]] = {
    "analyze_results": performance,
    "var_calculation": value_at_risk,
    "significance_test": significance,
    "stress_test": stress,
}


def main() -> None:
    path, repeats = sys.argv[1], int(sys.argv[2])
    answer = {}
    for tool, work in WORK.items():
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            numbers = work(_returns(path))
            seconds.append(time.perf_counter() - started)
        answer[tool] = {"seconds": seconds, "numbers": numbers}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
