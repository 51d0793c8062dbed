"""From the thresholds of a call to what watches a paper session."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError

from jesse_mcp.analytics.drift_band import drift_band, why_no_band
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.paper import FeedName, PaperRequest
from jesse_mcp.domain.paper_watch import Band, Threshold, Watcher
from jesse_mcp.ports.records import RunStore
from jesse_mcp.services.analysis_source import sample_of_run

MAX_THRESHOLDS = 20
#: The same for every session: one asked twice is watched alike.
_SEED = 0

_KEYS = ", ".join(Threshold.model_fields)
_RANGES = {
    "drawdown": (0.0, 1.0, "a fraction above 0 and up to 1, 0.1 is 10 %"),
    "daily_loss": (0.0, 1.0, "a fraction above 0 and up to 1, 0.05 is 5 %"),
    "loss_streak": (0.0, 1_000_000.0, "a whole number of trades, 1 or more"),
    "no_data": (0.0, 525_600.0, "minutes above 0"),
    "drift": (0.5, 0.9999, "a probability above 0.5 and up to 0.9999, such as 0.95"),
}


def thresholds_of(watch: Sequence[dict[str, Any]], feed: FeedName) -> tuple[Threshold, ...]:
    """The ``watch`` argument, checked.

    Raises:
        ResearchError: ``invalid_argument`` naming the entry and what it received.
    """
    if len(watch) > MAX_THRESHOLDS:
        raise _invalid(f"watch has {len(watch)} entries", f"give {MAX_THRESHOLDS} at most")
    found = tuple(_threshold(place, entry) for place, entry in enumerate(watch))
    for place, threshold in enumerate(found):
        if threshold.kind == "no_data" and feed == "replay":
            raise _invalid(
                f"watch[{place}] is no_data, and a replay waits for nobody",
                "leave it out, or use feed='exchange'",
            )
    return found


def watcher_of(thresholds: tuple[Threshold, ...], request: PaperRequest, runs: RunStore) -> Watcher:
    """What watches a session from its first minute. Blocks.

    Raises:
        ResearchError: ``run_not_found``; ``invalid_argument`` for a run of drift that is one of other
            strategies, or from whose returns nothing follows.
    """
    bands = {
        place: _band(place, threshold, request, runs)
        for place, threshold in enumerate(thresholds)
        if threshold.kind == "drift"
    }
    return Watcher(thresholds, request.starting_balance, bands)


def _threshold(place: int, entry: dict[str, Any]) -> Threshold:
    unknown = [name for name in entry if name not in Threshold.model_fields]
    missing = [name for name in ("kind", "limit") if name not in entry]
    if unknown or missing:
        said = [f"{', '.join(map(repr, unknown))[:200]}, which is not known"] if unknown else []
        said += [f"no {name}" for name in missing]
        raise _invalid(f"watch[{place}] has {' and '.join(said)}", f"its keys are {_KEYS}")
    try:
        threshold = Threshold.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _invalid(
            f"watch[{place}].{where} is {str(first['input'])[:200]}: {first['msg']}",
            f"its keys are {_KEYS}; kind is one of {', '.join(_RANGES)}",
        ) from error
    low, high, words = _RANGES[threshold.kind]
    whole = threshold.kind != "loss_streak" or threshold.limit == int(threshold.limit)
    if not low < threshold.limit <= high or not whole:
        raise _invalid(f"watch[{place}].limit of {threshold.kind} is {threshold.limit:g}", f"give {words}")
    if (threshold.run_id is not None) != (threshold.kind == "drift"):
        raise _invalid(
            f"watch[{place}] is {threshold.kind} with run_id {threshold.run_id}",
            "drift needs the run_id of a backtest of the strategy, see run_list; the others take none",
        )
    return threshold


def _band(place: int, threshold: Threshold, request: PaperRequest, runs: RunStore) -> Band:
    record = runs.get(threshold.run_id or "")
    traded = {route.strategy for route in request.routes}
    if set(record.strategies) != traded:
        raise _invalid(
            f"watch[{place}].run_id {record.run_id} is a run of {', '.join(record.strategies)}, the session "
            f"trades {', '.join(sorted(traded))}",
            "give a backtest of the same strategies, see run_list",
        )
    sample = sample_of_run(record)
    returns = sample.series.returns
    reason = sample.reason or why_no_band(returns)
    if reason is not None:
        raise _invalid(
            f"watch[{place}].run_id {record.run_id}: {reason}",
            "give a longer backtest of the strategy, in which it traded",
        )

    @cache
    def band(days: int) -> tuple[float, float]:
        return drift_band(returns, days, threshold.limit, _SEED)

    return band


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
