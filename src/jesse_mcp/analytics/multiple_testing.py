"""Whether returns earn anything at all, and what many such tests together may claim."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.block_length import optimal_block_length
from jesse_mcp.analytics.resamplers import stationary_blocks
from jesse_mcp.analytics.sharpe_inference import why_no_sharpe

Correction = Literal["bonferroni", "holm", "benjamini_hochberg", "benjamini_yekutieli"]

_STATSMODELS: dict[Correction, str] = {
    "bonferroni": "bonferroni",
    "holm": "holm",
    "benjamini_hochberg": "fdr_bh",
    "benjamini_yekutieli": "fdr_by",
}
#: Numbers drawn at a time.
_CHUNK = 1_000_000


@dataclass(frozen=True)
class MeanTest:
    """One-sided: small p-values speak for a mean above zero.

    ``t`` is mean over standard error (ddof 1); ``p_bootstrap`` allows for returns that depend on those
    before, with blocks of ``block_length`` on average.
    """

    t: float
    p_t: float
    p_bootstrap: float
    block_length: float


def adjusted_p_values(p_values: Sequence[float | None], correction: Correction) -> tuple[float | None, ...]:
    """P-values as they count when each is one of several.

    Args:
        p_values: 0 to 1; ``None`` or what is no such number is no hypothesis, and stays ``None``.

    Returns:
        In the order given, at most 1.

    Sources: Bonferroni in the form of Dunn, "Multiple comparisons among means", Journal of the American
    Statistical Association 56(293), 1961; Holm, "A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6(2), 1979; Benjamini & Hochberg, "Controlling the false discovery
    rate", Journal of the Royal Statistical Society B 57(1), 1995; Benjamini & Yekutieli, "The control of the
    false discovery rate in multiple testing under dependency", Annals of Statistics 29(4), 2001.
    """
    from statsmodels.stats.multitest import multipletests

    places = [place for place, p in enumerate(p_values) if p is not None and 0 <= p <= 1]
    adjusted: list[float | None] = [None] * len(p_values)
    if not places:
        return tuple(adjusted)
    known = [float(p_values[place] or 0.0) for place in places]
    found = multipletests(known, method=_STATSMODELS[correction])[1]
    for place, value in zip(places, found.tolist(), strict=True):
        adjusted[place] = float(value)
    return tuple(adjusted)


def mean_test(
    returns: NDArray[np.float64],
    seed: int,
    resamples: int = 2_000,
    pause: Callable[[], None] = lambda: None,
) -> MeanTest | None:
    """Whether the mean return is above zero, by Student's t and by a stationary bootstrap.

    The bootstrap draws from returns less their mean, where the hypothesis is true, and counts how often the
    mean is as large as the one found: ``(1 + hits) / (1 + resamples)``, which is never zero.

    Args:
        returns: oldest first, shape (n,).
        seed: of the bootstrap.
        pause: called now and then; may raise to end the work.

    Returns:
        ``None`` exactly when :func:`~jesse_mcp.analytics.sharpe_inference.why_no_sharpe` gives a reason.

    Sources: Student, "The probable error of a mean", Biometrika 6(1), 1908; Politis & Romano, "The
    stationary bootstrap", Journal of the American Statistical Association 89(428), 1994; the p-value:
    Davison & Hinkley, "Bootstrap Methods and their Application", 1997, section 4.2; the length of the blocks:
    Politis & White 2004.
    """
    from scipy.stats import t as student

    if why_no_sharpe(returns) is not None:
        return None
    scaled = returns / np.abs(returns).max()
    n, mean = len(scaled), float(scaled.mean())
    statistic = mean / float(scaled.std(ddof=1)) * math.sqrt(n)
    length = optimal_block_length(scaled).stationary
    draw = stationary_blocks(scaled - mean, seed, length)
    hits, left = 0, resamples
    rows = max(1, _CHUNK // n)
    while left:
        pause()
        drawn = draw(min(rows, left))
        hits += int((drawn.mean(axis=1) >= mean).sum())
        left -= len(drawn)
    return MeanTest(
        t=statistic,
        p_t=float(student.sf(statistic, n - 1)),
        p_bootstrap=(1 + hits) / (1 + resamples),
        block_length=length,
    )
