"""Several runs beside each other: their returns on the same days, and which of them beats doing nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.data_snooping import DataSnooping, data_snooping, why_no_data_snooping
from jesse_mcp.analytics.multiple_testing import Correction, MeanTest, adjusted_p_values, mean_test
from jesse_mcp.services.analysis_source import Sample
from jesse_mcp.services.significance_request import SignificanceArguments

CORRECTIONS: tuple[Correction, ...] = ("holm", "benjamini_hochberg")


@dataclass(frozen=True)
class RunComparison:
    """One value for each run, in the order given, except for what is of all of them.

    ``means`` and ``adjusted`` (by name of the correction) are of each run's own returns; ``snooping`` is of
    the ``periods`` they share, its columns the runs.
    """

    means: tuple[MeanTest | None, ...]
    adjusted: dict[Correction, tuple[float | None, ...]]
    periods: int
    snooping: DataSnooping | None
    why_no_snooping: str | None


def aligned(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Returns on the days that all samples have, shape (t, k); after the loss of everything they are zero."""
    columns = [(one.series.return_timestamps, one.series) for one in samples]
    if any(times is None or not len(times) for times, _ in columns):
        return np.empty((0, len(samples)))
    dated = [(times, series) for times, series in columns if times is not None]
    moments = np.unique(np.concatenate([times for times, _ in dated]))
    shared = np.ones(len(moments), dtype=bool)
    for times, series in dated:
        shared &= np.isin(moments, times) | (series.ruined & (moments > times[-1]))
    moments = moments[shared]
    table = np.zeros((len(moments), len(samples)))
    for column, (times, series) in enumerate(dated):
        known = np.isin(moments, times)
        table[known, column] = series.returns[np.searchsorted(times, moments[known])]
    return table


def compared(
    samples: Sequence[Sample],
    table: NDArray[np.float64],
    arguments: SignificanceArguments,
    resamples: int,
    pause: Callable[[], None],
) -> RunComparison:
    """Test each run by itself, then all of them together against earning nothing.

    Args:
        table: what :func:`aligned` makes of the samples.
        pause: called now and then; may raise to end the work.
    """
    means = tuple(mean_test(one.series.returns, arguments.seed, resamples, pause) for one in samples)
    p_values = [None if mean is None else mean.p_bootstrap for mean in means]
    cash = np.zeros(len(table))
    return RunComparison(
        means=means,
        adjusted={correction: adjusted_p_values(p_values, correction) for correction in CORRECTIONS},
        periods=len(table),
        snooping=data_snooping(table, cash, arguments.seed, size=1 - arguments.confidence),
        why_no_snooping=why_no_data_snooping(table, cash),
    )
