"""A correlation matrix of few periods drawn towards no correlation, by as much as it is noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: With fewer periods for each series the matrix is shrunk unless told otherwise. A convention: at 10 the
#: eigenvalues of uncorrelated series spread from 0.47 to 1.73 instead of being 1 (Marchenko & Pastur,
#: "Distribution of eigenvalues for some sets of random matrices", Mathematics of the USSR 1(4), 1967).
PERIODS_A_SERIES = 10


@dataclass(frozen=True)
class ShrunkCorrelation:
    """``(1 - intensity) * sample + intensity * identity``; ``matrix`` has shape (k, k)."""

    matrix: Floats
    intensity: float


def too_few_periods(n: int, k: int) -> bool:
    """Whether ``n`` periods of ``k`` series are fewer than :data:`PERIODS_A_SERIES` each."""
    return n < PERIODS_A_SERIES * k


def ledoit_wolf_correlation(values: Floats, *, ranks: bool = False) -> ShrunkCorrelation:
    """The mix of the sample's matrix and the identity that is expected to be nearest the truth.

    The columns are divided by their standard deviations first, so that the target of equal variances
    without correlation is the identity and the result has a unit diagonal. That the deviations are
    estimated too is not allowed for in the intensity.

    Args:
        values: a column a series, each of which varies, shape (n, k), n of 2 or more.
        ranks: of the ranks, for a Spearman matrix.

    Returns:
        ``intensity`` from 0 (all data) to 1 (no correlation); ``matrix`` is positive definite when it is
        above 0.

    Source: Ledoit & Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal
    of Multivariate Analysis 88(2), 2004, as scikit-learn computes it.
    """
    from scipy.stats import rankdata
    from sklearn.covariance import LedoitWolf

    table = rankdata(values, axis=0) if ranks else values / np.abs(values).max(axis=0)
    standard = (table - table.mean(axis=0)) / table.std(axis=0)
    fitted = LedoitWolf(store_precision=False, assume_centered=True).fit(standard)
    matrix = np.clip(np.asarray(fitted.covariance_, dtype=np.float64), -1.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    return ShrunkCorrelation((matrix + matrix.T) / 2, float(fitted.shrinkage_))
