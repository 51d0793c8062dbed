"""Factors beside the returns of a source: which periods all of them have, and how many fell out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.measures import Floats
from jesse_mcp.analytics.return_series import ReturnSeries
from jesse_mcp.domain.timeframes import DAY_MS
from jesse_mcp.services.factor_request import Plain, Timed, invalid

#: Times of a factor and of the source may be spaced differently by so much.
_SPACING_TOLERANCE = 0.1


@dataclass(frozen=True)
class AlignedFactors:
    """Returns and factors of the periods that all of them have.

    Attributes:
        returns: shape (n,).
        factors: shape (n, k), in the order of ``names``.
        ends: when each period ends, epoch milliseconds, or ``None`` when the source has no times.
        missing: by factor, how many periods of the source it has no return in.
        dropped: periods of the source that are left out.
        inside: those of them between the first and the last that were kept.
    """

    names: tuple[str, ...]
    returns: Floats
    factors: Floats
    ends: NDArray[np.int64] | None
    missing: dict[str, int]
    dropped: int
    inside: int


def aligned(series: ReturnSeries, columns: dict[str, Floats]) -> AlignedFactors:
    """Leave out the periods in which any factor is NaN.

    Args:
        columns: at least one, each as long as the returns of the series.
    """
    table = np.column_stack(list(columns.values()))
    known = np.asarray(np.isfinite(table).all(axis=1))
    kept = np.flatnonzero(known)
    ends = series.return_timestamps
    return AlignedFactors(
        names=tuple(columns),
        returns=series.returns[known],
        factors=table[known],
        ends=None if ends is None else ends[known],
        missing={name: int((~np.isfinite(column)).sum()) for name, column in columns.items()},
        dropped=len(known) - len(kept),
        inside=int(kept[-1] - kept[0] + 1 - len(kept)) if len(kept) else 0,
    )


def given_factor(name: str, values: Plain | Timed, series: ReturnSeries) -> tuple[Floats, str | None]:
    """A factor of the call over the periods of the source, shape (n,), NaN where it has no return.

    Without times it belongs to the periods in their order. With times, which are those at which its periods
    end, each goes with the period of the source that ends less than a quarter of a period away; the second
    value says so when they are not the same.

    Raises:
        ResearchError: ``invalid_argument`` when they cannot be put beside each other.
    """
    if isinstance(values[0], tuple):
        times, returns = (np.array(part) for part in zip(*values, strict=True))
        return _matched(name, times.astype(np.int64), returns.astype(np.float64), series)
    if len(values) != len(series.returns):
        raise invalid(
            f"factor_returns.{name} has {len(values):,} values for {len(series.returns):,} returns",
            "give one for each return of the source, or [epoch ms of the period's end, return]",
        )
    return np.array(values, dtype=np.float64), None


def _matched(
    name: str, times: NDArray[np.int64], returns: Floats, series: ReturnSeries
) -> tuple[Floats, str | None]:
    moments = series.timestamps
    if moments is None:
        raise invalid(
            f"factor_returns.{name} has times, and the source has none",
            "give the source as balances with times, or the factor as a list as long as the returns",
        )
    usual = float(np.median(np.diff(moments)))
    if len(times) > 1:
        own = float(np.median(np.diff(times)))
        if abs(own - usual) > _SPACING_TOLERANCE * usual:
            raise invalid(
                f"factor_returns.{name} is {own / DAY_MS:g} days apart, the source {usual / DAY_MS:g} days",
                "give returns over periods as long as those of the source",
            )
    ends = moments[1:]
    after = np.clip(np.searchsorted(times, ends), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(times[before] - ends) < np.abs(times[after] - ends), before, after)
    distances = np.abs(times[nearest] - ends)
    # After a gap of the source its return is over more time than that of the factor. A quarter on either
    # side is too little for two periods to take the same return.
    fits = (distances < usual / 4) & (np.abs(np.diff(moments) - usual) < usual / 4)
    furthest = int(distances[fits].max()) if fits.any() else 0
    remark = None
    if furthest > usual / 100:
        remark = f"periods of {name} end up to {furthest / 3_600_000:.2g} hours from those of the source"
    return np.where(fits, returns[nearest], np.nan), remark
