"""What was tried before a result: how often, under which names, on which days, with which returns."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.sharpe_inference import why_no_sharpe
from jesse_mcp.analytics.walk_forward import daily_returns
from jesse_mcp.domain.backtests import BacktestRequest
from jesse_mcp.domain.ledger import Trial, family_of
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.ports.records import TrialLedger

_PAGE = 1_000
#: The latest trials that are searched for returns like those of the runs: seconds, not minutes.
_MOST_COMPARED = 5_000
_ENOUGH_TO_COMPARE = 30
#: Correlation of daily returns above which one strategy is taken for the other.
_ALIKE = 0.999


@dataclass(frozen=True)
class TrialHistory:
    """Of the families of some runs, those with nearly the same returns on the same days, and their lineages.

    Attributes:
        families: names of strategies, in alphabetical order.
        count: distinct experiments.
        series: daily returns of each that has them.
        table: one column for each on the very days of the runs, shape (t, n); ``None`` when the runs are not
            all of the same days.
        overlapping: experiments, the runs themselves aside, on some of the days of the runs.
    """

    families: tuple[str, ...]
    count: int
    series: tuple[NDArray[np.float64], ...]
    table: NDArray[np.float64] | None
    overlapping: int


def history_of(ledger: TrialLedger, records: Iterable[RunRecord], periods: int) -> TrialHistory:
    """Read the ledger. Blocks.

    Args:
        records: at least one.
        periods: returns of each of them, if they are of the same days.

    Raises:
        ResearchError: ``storage_failed``.
    """
    runs = list(records)
    days = {_days(run) for run in runs}
    own = {run.fingerprint for run in runs}
    families = {family_of(run.strategies) for run in runs}
    families |= _families_alike(ledger, [_returns(run) for run in runs], days)
    trials = _trials(ledger, families)
    same: list[NDArray[np.float64]] = []
    series: list[NDArray[np.float64]] = []
    overlapping = 0
    for trial, returns in trials:
        families.add(trial.family)
        if trial.fingerprint not in own and any(
            trial.start_ms < end and trial.end_ms > start for start, end in days
        ):
            overlapping += 1
        if returns is None:
            continue
        series.append(returns)
        if {(trial.start_ms, trial.end_ms)} == days and (column := _column(returns, periods)) is not None:
            same.append(column)
    return TrialHistory(
        families=tuple(sorted(families)),
        count=max(len(trials), len(own)),
        series=tuple(series),
        table=np.column_stack(same) if same else None,
        overlapping=overlapping,
    )


def trials_alike(ledger: TrialLedger, returns: NDArray[np.float64]) -> tuple[tuple[str, ...], int]:
    """Families among the latest trials with nearly these returns, on whatever days, and their trials. Blocks.

    Returns:
        Names in alphabetical order, and how many distinct experiments count for them.

    Raises:
        ResearchError: ``storage_failed``.
    """
    families = _families_alike(ledger, [returns], None)
    return tuple(sorted(families)), len(_trials(ledger, families))


def _families_alike(
    ledger: TrialLedger, series: list[NDArray[np.float64]], days: set[tuple[int, int]] | None
) -> set[str]:
    """Of trials on one of these ``days`` whose returns, as many, correlate by more than :data:`_ALIKE`."""
    found: set[str] = set()
    wanted = [(len(one), unit) for one in series if (unit := _unit(one)) is not None]
    for offset in range(0, _MOST_COMPARED if wanted else 0, _PAGE):
        page = ledger.entries(None, limit=_PAGE, offset=offset)
        for trial in page:
            if trial.daily_returns is None or trial.family in found:
                continue
            if days is not None and (trial.start_ms, trial.end_ms) not in days:
                continue
            lengths = [unit for length, unit in wanted if length == len(trial.daily_returns)]
            own = _unit(np.array(trial.daily_returns)) if lengths else None
            if own is not None and any(float(own @ unit) > _ALIKE for unit in lengths):
                found.add(trial.family)
        if len(page) < _PAGE:
            break
    return found


def _unit(returns: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Deviations from the mean with length one, whose products are correlations; few say nothing."""
    if len(returns) < _ENOUGH_TO_COMPARE or why_no_sharpe(returns) is not None:
        return None
    scaled = returns / np.abs(returns).max()
    centred = scaled - scaled.mean()
    unit: NDArray[np.float64] = centred / np.linalg.norm(centred)
    return unit


def _returns(run: RunRecord) -> NDArray[np.float64]:
    return daily_returns(np.array([point.balance for point in run.outcome.equity], dtype=np.float64))


def _trials(ledger: TrialLedger, families: set[str]) -> list[tuple[Trial, NDArray[np.float64] | None]]:
    """Each once, its returns as an array: as Python numbers those of a large ledger would fill the memory."""
    found: dict[str, tuple[Trial, NDArray[np.float64] | None]] = {}
    read: set[str] = set()
    for family in sorted(families):
        lineage = ledger.lineage(family)
        if lineage <= read:
            continue
        read |= lineage
        offset = 0
        while page := ledger.entries(family, limit=_PAGE, offset=offset):
            for trial in page:
                returns = None if not trial.daily_returns else np.array(trial.daily_returns)
                found[trial.fingerprint] = (trial.model_copy(update={"daily_returns": None}), returns)
            offset += len(page)
    return list(found.values())


def _days(run: RunRecord) -> tuple[int, int]:
    request = BacktestRequest.model_validate(run.request)
    return request.start_ms, request.end_ms


def _column(returns: NDArray[np.float64], periods: int) -> NDArray[np.float64] | None:
    """Returns of all periods; after the loss of everything there is nothing to gain or lose."""
    if len(returns) == periods:
        return returns
    if len(returns) < periods and returns[-1] == -1:
        return np.concatenate((returns, np.zeros(periods - len(returns))))
    return None
