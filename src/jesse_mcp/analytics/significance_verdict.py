"""What the tests together say of a result, by stated thresholds."""

from typing import Literal

SignificanceVerdict = Literal[
    "significant", "overfit", "explained_by_selection", "not_significant", "undecided"
]

ENOUGH_RETURNS = 30
ENOUGH_TRADES = 30
MAX_PBO = 0.5
#: Among fewer, ranks are coarse, and the runs somebody happened to make are no selection.
ENOUGH_STRATEGIES = 10

THRESHOLDS = (
    f"undecided: fewer than {ENOUGH_RETURNS} returns or {ENOUGH_TRADES} closed trades; not_significant: the "
    "probabilistic Sharpe ratio is below confidence, or the bootstrap p-value of the mean above 1 - "
    "confidence; undecided: nobody knows the number of trials; explained_by_selection: the deflated Sharpe "
    f"ratio is below confidence; overfit: pbo is above {MAX_PBO:g}, of at least {ENOUGH_STRATEGIES} "
    "strategies; else significant"
)


def undecided(returns: int, trades: int | None) -> str | None:
    """Why so little decides nothing, or ``None`` when it is enough.

    Args:
        trades: closed; ``None`` when nobody knows.
    """
    if returns < ENOUGH_RETURNS:
        return f"{returns} returns are too few for a verdict: {ENOUGH_RETURNS} are needed"
    if trades is not None and trades < ENOUGH_TRADES:
        return f"{trades} closed trades are too few for a verdict: {ENOUGH_TRADES} are needed"
    return None


def significance_verdict(
    returns: int,
    trades: int | None,
    *,
    psr: float | None,
    p_bootstrap: float | None,
    dsr: float | None,
    pbo: float | None,
    strategies: int,
    confidence: float,
) -> SignificanceVerdict:
    """By :data:`THRESHOLDS`; a ``pbo`` that is ``None`` speaks for nothing and against nothing.

    Args:
        psr: probabilistic Sharpe ratio against the benchmark.
        p_bootstrap: one-sided, of the mean return.
        dsr: deflated Sharpe ratio.
        pbo: probability of backtest overfitting.
        strategies: that it was found with.
    """
    if undecided(returns, trades) or psr is None or p_bootstrap is None:
        return "undecided"
    if psr < confidence or p_bootstrap > 1 - confidence:
        return "not_significant"
    if dsr is None:
        return "undecided"
    if dsr < confidence:
        return "explained_by_selection"
    overfit = pbo is not None and pbo > MAX_PBO and strategies >= ENOUGH_STRATEGIES
    return "overfit" if overfit else "significant"
