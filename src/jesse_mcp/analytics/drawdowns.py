"""Drawdowns one by one, and how deep and how long they are altogether.

A drawdown begins at the last highest balance, has its trough where the balance is lowest, and ends where the
balance is as high again. Depths are positive fractions of the peak; what is lost altogether has depth 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.measures import OVERFLOW, Floats, Measure, found_or_reason

NO_BALANCE = "there are fewer than two balances"
NOT_POSITIVE = "the first balance is not positive"
NO_DRAWDOWN = "there is no drawdown"


@dataclass(frozen=True)
class Drawdown:
    """Positions in the balances; ``recovery`` is ``None`` when the last balance is still below the peak.

    ``length`` is in periods from the peak to the recovery, or to the last balance.
    """

    peak: int
    trough: int
    recovery: int | None
    depth: float
    length: int


@dataclass(frozen=True)
class Episodes:
    """Every drawdown, oldest first, one array a column, shape (k,).

    ``peaks`` and ``ends`` are positions in the balances: an end is the recovery, or one past the last one.
    """

    peaks: NDArray[np.int64]
    ends: NDArray[np.int64]
    depths: Floats


def unusable(balances: Floats) -> str | None:
    """Why ``balances`` have no drawdowns, or ``None`` when they can be measured."""
    if len(balances) < 2:
        return NO_BALANCE
    if not np.isfinite(balances).all():
        return OVERFLOW
    return NOT_POSITIVE if balances[0] <= 0 else None


def depths_of(balances: Floats) -> Floats:
    """How far each balance is below the highest so far, 0 to 1, shape (n,).

    Args:
        balances: finite, the first one positive, shape (n,). Negative ones count as zero.
    """
    kept = np.maximum(balances, 0.0)
    return np.asarray(1 - kept / np.maximum.accumulate(kept), dtype=np.float64)


def episodes(balances: Floats) -> Episodes:
    """All drawdowns of ``balances`` as :func:`depths_of` takes them."""
    depths = depths_of(balances)
    below = depths > 0
    edges = np.diff(np.concatenate(([False], below, [False])).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        return Episodes(starts, ends, np.empty(0))
    # What lies between two drawdowns is not below a peak: it takes no part in a maximum.
    deepest = np.maximum.reduceat(depths, starts)
    return Episodes(starts - 1, ends, np.asarray(deepest, dtype=np.float64))


def largest_drawdowns(balances: Floats, count: int) -> list[Drawdown]:
    """The ``count`` deepest, deepest first, equally deep ones oldest first; none of unusable balances."""
    if unusable(balances) is not None:
        return []
    found, depths = episodes(balances), depths_of(balances)
    order = np.argsort(-found.depths, kind="stable")[:count]
    table = []
    for at in order:
        peak, end = int(found.peaks[at]), int(found.ends[at])
        trough = peak + int(np.argmax(depths[peak:end]))
        recovered = end < len(balances)
        table.append(
            Drawdown(
                peak=peak,
                trough=trough,
                recovery=end if recovered else None,
                depth=float(found.depths[at]),
                length=(end if recovered else len(balances) - 1) - peak,
            )
        )
    return table


def drawdown_summary(balances: Floats, confidence: float = 0.95) -> dict[str, Measure]:
    """Count, depths and lengths of all drawdowns.

    - ``drawdowns``: how many; ``average_drawdown``: mean of their depths; ``average_length`` and
      ``longest`` in periods, ones that last still included;
    - ``time_under_water``: share of the balances after the first that are below their peak;
    - ``current_drawdown``: depth of the last balance;
    - ``cdar``: conditional drawdown at risk, :func:`conditional_drawdown_at_risk` at ``confidence``.
    """
    names = (
        "drawdowns",
        "average_drawdown",
        "average_length",
        "longest",
        "time_under_water",
        "current_drawdown",
        "cdar",
    )
    reason = unusable(balances)
    if reason is not None:
        return dict.fromkeys(names, Measure(None, reason))
    found, depths = episodes(balances), depths_of(balances)
    lengths = np.minimum(found.ends, len(balances) - 1) - found.peaks
    none = len(lengths) == 0
    return {
        "drawdowns": Measure(float(len(lengths))),
        "average_drawdown": found_or_reason(NO_DRAWDOWN if none else float(found.depths.mean())),
        "average_length": found_or_reason(NO_DRAWDOWN if none else float(lengths.mean())),
        "longest": found_or_reason(0.0 if none else float(lengths.max())),
        "time_under_water": Measure(float(np.mean(depths[1:] > 0))),
        "current_drawdown": Measure(float(depths[-1])),
        "cdar": Measure(conditional_drawdown_at_risk(depths[1:], confidence)),
    }


def conditional_drawdown_at_risk(depths: Floats, confidence: float) -> float:
    """Mean of the deepest ``1 - confidence`` of the drawdowns at all times.

    The observation at the edge counts with the part of it that belongs there.

    Args:
        depths: at the end of each period, shape (n,), n >= 1.
        confidence: 0 up to but not including 1.

    Source: Chekhlov, Uryasev & Zabarankin, "Drawdown measure in portfolio optimization", International
    Journal of Theoretical and Applied Finance 8(1), 2005.
    """
    share = (1 - confidence) * len(depths)
    whole = min(int(share), len(depths))
    deepest = np.sort(depths)[::-1]
    total = float(deepest[:whole].sum())
    if whole < len(depths):
        total += (share - whole) * float(deepest[whole])
    return min(total / share, float(deepest[0]))
