"""Least squares of a return series on factors, with errors that allow for autocorrelation.

Returns are shape (n,), factors shape (n, k), both simple returns of the same periods, oldest first. An
intercept is always part of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jesse_mcp.analytics.measures import NOT_FINITE, Floats, dispersion
from jesse_mcp.analytics.sharpe_inference import newey_west_lags

#: Columns of length one whose smallest singular value is below this share of the largest say nothing apart.
COLLINEAR = 1e-9
#: Residuals below this share of the returns are rounding.
EXACT = 1e-10
#: A covariance this far from full rank has no inverse worth the name.
_SINGULAR = 1e-12
NO_RESIDUAL = "the factors explain the returns to the last digit: no residual is left to judge errors by"


@dataclass(frozen=True)
class Coefficient:
    """An estimate with its error, two-sided test against zero and interval; ``None`` when nothing is left."""

    value: float
    standard_error: float | None = None
    t: float | None = None
    p: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class FactorRegression:
    """What :func:`factor_regression` finds.

    Attributes:
        betas: one for each factor.
        f: Wald statistic of all betas being zero over their number, and ``f_p`` its p-value; ``None`` when
            their covariance has no inverse.
        residuals: shape (n,).
        hac_lags: of the covariance.
        freedom: n less the number of coefficients.
        vif: variance inflation factor of each factor.
        condition_number: of the columns with the intercept, each scaled to length one.
    """

    alpha: Coefficient
    betas: tuple[Coefficient, ...]
    r_squared: float
    adjusted_r_squared: float
    f: float | None
    f_p: float | None
    durbin_watson: float | None
    residuals: Floats
    hac_lags: int
    freedom: int
    vif: tuple[float, ...]
    condition_number: float


def why_no_regression(returns: Floats, factors: Floats, names: Sequence[str]) -> str | None:
    """Why :func:`factor_regression` would have no answer, naming the factors at fault."""
    n, k = factors.shape
    if n < k + 2:
        return f"{n} periods are too few for {k} factors and an intercept: {k + 2} are the least"
    if not (np.isfinite(returns).all() and np.isfinite(factors).all()):
        return NOT_FINITE
    if dispersion(returns) == 0:
        return "the returns do not vary: there is nothing to explain"
    constant = [name for name, column in zip(names, factors.T, strict=True) if dispersion(column) == 0]
    if constant:
        return f"the returns of {', '.join(constant)} do not vary"
    tied = _collinear(factors)
    if tied:
        return f"{', '.join(names[place] for place in tied)} are linear combinations of each other"
    return None


def factor_regression(
    returns: Floats, factors: Floats, *, hac_lags: int | None = None, confidence: float = 0.95
) -> FactorRegression:
    """Ordinary least squares with Newey-West errors.

    Args:
        returns: shape (n,); :func:`why_no_regression` must have had no objection.
        factors: shape (n, k), k at least 1.
        hac_lags: 0 to n - 1; default ``floor(4 (n / 100)^(2/9))``, below n.
        confidence: of the intervals, between 0 and 1.

    Errors have Bartlett weights and the correction ``n / (n - k - 1)``, t and F with ``n - k - 1`` degrees
    of freedom, as Stata's ``newey``. With zero lags they are White's (HC1).

    Sources: Newey & West, "A simple, positive semi-definite, heteroskedasticity and autocorrelation
    consistent covariance matrix", Econometrica 55(3), 1987; the rule for the lags: the same, "Automatic lag
    selection in covariance matrix estimation", Review of Economic Studies 61(4), 1994. Variance inflation:
    Marquardt, "Generalized inverses, ridge regression, biased linear estimation, and nonlinear estimation",
    Technometrics 12(3), 1970. Condition number: Belsley, Kuh & Welsch, "Regression diagnostics", 1980.
    Durbin & Watson, "Testing for serial correlation in least squares regression", Biometrika 37, 1950.
    """
    n, k = factors.shape
    lags = newey_west_lags(n) if hac_lags is None else hac_lags
    # Columns of like size: otherwise squares of very large or small returns leave the range of a float.
    sizes, size = np.abs(factors).max(axis=0), float(np.abs(returns).max())
    fit = _least_squares(returns / size, factors / sizes, lags)
    residuals = np.asarray(fit.resid, dtype=np.float64)
    spread, left = dispersion(returns / size), float(np.std(residuals, ddof=1))
    exact = left <= EXACT * spread
    r_squared = 1.0 if exact else 1.0 - (left / spread) ** 2
    freedom = n - k - 1
    scales = np.concatenate(([size], size / sizes))
    coefficients = _coefficients(fit, scales, exact, confidence, freedom)
    f, f_p = (None, None) if exact else _wald(fit, k, freedom)
    return FactorRegression(
        alpha=coefficients[0],
        betas=tuple(coefficients[1:]),
        r_squared=r_squared,
        adjusted_r_squared=1.0 - (1.0 - r_squared) * (n - 1) / freedom,
        f=f,
        f_p=f_p,
        durbin_watson=None if exact else _durbin_watson(residuals),
        residuals=residuals * size,
        hac_lags=lags,
        freedom=freedom,
        vif=_inflation(factors),
        condition_number=_condition_number(factors),
    )


def _least_squares(returns: Floats, factors: Floats, lags: int) -> Any:
    from statsmodels.regression.linear_model import OLS

    design = np.column_stack((np.ones(len(returns)), factors))
    # Squaring nothing: normal equations would lose half of the digits of nearly collinear factors.
    return OLS(returns, design).fit(
        method="qr", cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}, use_t=True
    )


def _coefficients(
    fit: Any, scales: Floats, exact: bool, confidence: float, freedom: int
) -> list[Coefficient]:
    from scipy import special

    if exact:
        return [Coefficient(float(value)) for value in fit.params * scales]
    reach = float(special.stdtrit(freedom, (1 + confidence) / 2))
    found = []
    for value, error, scale in zip(fit.params, np.sqrt(np.diag(fit.cov_params())), scales, strict=True):
        if not (np.isfinite(error) and error > 0):
            found.append(Coefficient(float(value * scale)))
            continue
        ends = sorted(float(scale * (value + side * reach * error)) for side in (-1, 1))
        found.append(
            Coefficient(
                value=float(value * scale),
                standard_error=float(error * scale),
                t=float(value / error),
                p=float(2 * special.stdtr(freedom, -abs(value / error))),
                low=ends[0],
                high=ends[1],
            )
        )
    return found


def _wald(fit: Any, k: int, freedom: int) -> tuple[float | None, float | None]:
    from scipy import special

    betas, covariance = fit.params[1:], fit.cov_params()[1:, 1:]
    errors = np.sqrt(np.diag(covariance))
    if not (np.isfinite(errors).all() and (errors > 0).all()):
        return None, None
    correlation = covariance / np.outer(errors, errors)
    if np.linalg.eigvalsh(correlation)[0] <= _SINGULAR:
        return None, None
    scaled = betas / errors
    f = float(scaled @ np.linalg.solve(correlation, scaled)) / k
    return f, float(special.fdtrc(k, freedom, f))


def _durbin_watson(residuals: Floats) -> float:
    from statsmodels.stats.stattools import durbin_watson

    return float(durbin_watson(residuals))


def _triangle(columns: Floats) -> Floats:
    """Of the QR decomposition of columns scaled to length one: has their singular values, shape (k, k)."""
    largest = np.abs(columns).max(axis=0)
    scaled = columns / largest
    triangle: Floats = np.linalg.qr(scaled / np.linalg.norm(scaled, axis=0), mode="r")  # type: ignore[assignment]
    return triangle


def _collinear(factors: Floats) -> list[int]:
    _, values, rows = np.linalg.svd(_triangle(_centred(factors)))
    weak = rows[values <= COLLINEAR * values[0]]
    involved = np.abs(weak) > np.sqrt(COLLINEAR)
    return [int(place) for place in np.flatnonzero(involved.any(axis=0))]


def _inflation(factors: Floats) -> tuple[float, ...]:
    """The diagonal of the inverse of their correlation matrix."""
    from scipy.linalg import solve_triangular

    triangle = _triangle(_centred(factors))
    inverse = solve_triangular(triangle, np.eye(len(triangle)))
    # Rounding must not show a single factor as better than independent.
    return tuple(max(1.0, float(value)) for value in (inverse**2).sum(axis=1))


def _condition_number(factors: Floats) -> float:
    values = np.linalg.svd(_triangle(np.column_stack((np.ones(len(factors)), factors))), compute_uv=False)
    return float(values[0] / values[-1])


def _centred(factors: Floats) -> Floats:
    scaled = factors / np.abs(factors).max(axis=0)
    return np.asarray(scaled - scaled.mean(axis=0), dtype=np.float64)
