"""What is left of diversification when markets move together."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.volatility_stress import NORMAL_QUANTILES

Floats = NDArray[np.float64]

#: Eigenvalues above minus this are rounding.
TOLERANCE = 1e-10
#: Largest change of an element by the last pair of projections, and how many pairs there are at most.
_CONVERGED = 1e-13
_MOST_PROJECTIONS = 10_000


@dataclass(frozen=True)
class PortfolioRisk:
    """``volatility`` is annual; ``normal_var`` of one period by level, positive for a loss; fractions."""

    volatility: float
    normal_var: dict[str, float]


def sample_correlation(returns: Floats) -> Floats:
    """Pearson's correlations of the columns.

    Args:
        returns: finite, shape (n, k).

    Returns:
        Shape (k, k). A column that never moves has none with the others: 0 is put, which no risk depends on.
    """
    centred = returns - returns.mean(axis=0)
    lengths = np.sqrt((centred**2).sum(axis=0))
    still = lengths <= 1e-12 * np.maximum(1.0, np.abs(returns).max(axis=0)) * math.sqrt(len(returns))
    units = np.where(still, 0.0, centred / np.where(still, 1.0, lengths))
    found = np.clip(units.T @ units, -1.0, 1.0)
    np.fill_diagonal(found, 1.0)
    return np.asarray((found + found.T) / 2, dtype=np.float64)


def problem_of(matrix: Floats) -> str | None:
    """Why a matrix is no candidate for a correlation matrix, or ``None``.

    It need not be positive semi-definite: :func:`nearest_correlation` makes it so.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] < 2:
        return f"its shape is {matrix.shape}, not square with 2 rows or more"
    if not np.isfinite(matrix).all():
        return "it holds a number that is not finite"
    if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-9):
        return "it is not symmetric"
    if not np.allclose(np.diag(matrix), 1.0, rtol=0, atol=1e-9):
        return "its diagonal is not all 1"
    if np.abs(matrix).max() > 1 + 1e-9:
        return "a correlation is outside -1 to 1"
    return None


def smallest_eigenvalue(matrix: Floats) -> float:
    """Of a symmetric matrix; not negative for a correlation matrix, but for rounding."""
    return float(np.linalg.eigvalsh(matrix)[0])


def towards(correlation: Floats, share: float, target: Floats | None = None) -> Floats:
    """A correlation matrix the given share of the way to another: ``(1 - share) * C + share * T``.

    Args:
        correlation: positive semi-definite, unit diagonal, shape (k, k).
        share: 0 to 1.
        target: positive semi-definite with a unit diagonal; all ones when ``None``, so that at a share of 1
            everything moves together.

    Returns:
        Positive semi-definite, as every sum of positive multiples of such matrices is: Horn & Johnson,
        "Matrix Analysis", 2nd ed. 2013, section 7.1.

    Raises:
        ValueError: for a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}")
    goal = np.ones_like(correlation) if target is None else target
    return np.asarray((1 - share) * correlation + share * goal, dtype=np.float64)


def nearest_correlation(matrix: Floats) -> Floats:
    """The correlation matrix nearest to a symmetric matrix, by the sum of squared differences.

    Args:
        matrix: symmetric with a unit diagonal, shape (k, k).

    Returns:
        The same matrix when it is positive semi-definite. Otherwise alternating projections on the positive
        semi-definite matrices, with Dykstra's correction, and on those of unit diagonal; at the end
        eigenvalues that rounding left negative are cut, and rows scaled to a diagonal of 1.

    Source: Higham, "Computing the nearest correlation matrix - a problem from finance", IMA Journal of
    Numerical Analysis 22(3), 2002, algorithm 3.3.
    """
    found = np.asarray((matrix + matrix.T) / 2, dtype=np.float64)
    if smallest_eigenvalue(found) >= -TOLERANCE:
        return found
    correction = np.zeros_like(found)
    for _ in range(_MOST_PROJECTIONS):
        raised = found - correction
        projected = _without_negative_eigenvalues(raised)
        correction = projected - raised
        before, found = found, projected.copy()
        np.fill_diagonal(found, 1.0)
        if np.abs(found - before).max() <= _CONVERGED:
            break
    projected = _without_negative_eigenvalues(found)
    scale = 1 / np.sqrt(np.diag(projected))
    answer = np.clip(projected * np.outer(scale, scale), -1.0, 1.0)
    np.fill_diagonal(answer, 1.0)
    return np.asarray((answer + answer.T) / 2, dtype=np.float64)


def _without_negative_eigenvalues(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T, dtype=np.float64)


def portfolio_risk(
    weights: Floats, deviations: Floats, correlation: Floats, mean: float, periods_per_year: float
) -> PortfolioRisk:
    """Volatility and normal VaR of a portfolio that keeps its weights.

    Args:
        weights: shares of equity, negative when short, shape (k,).
        deviations: standard deviations of a period, shape (k,).
        correlation: positive semi-definite, shape (k, k).
        mean: of the portfolio's return a period.

    Returns:
        Variance ``sum of w_i w_j s_i s_j c_ij``: Markowitz, "Portfolio selection", Journal of Finance 7(1),
        1952. VaR ``z * sd - mean``: J.P. Morgan/Reuters, "RiskMetrics Technical Document", 4th ed. 1996, with
        the mean kept.
    """
    scaled = weights * deviations
    deviation = math.sqrt(max(float(scaled @ correlation @ scaled), 0.0))
    return PortfolioRisk(
        volatility=deviation * math.sqrt(periods_per_year),
        normal_var={level: z * deviation - mean for level, z in NORMAL_QUANTILES.items()},
    )
