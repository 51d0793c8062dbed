"""What makes a row a candle, checked on whole arrays at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.domain.candles import CLOSE, HIGH, LOW, OPEN, TIMESTAMP, VOLUME, CandleArray
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute

Mask = NDArray[np.bool_]

#: Rows named in an error; the counts are of all of them.
MAX_ROWS_NAMED = 5
#: Midnight of 10000-01-01: later moments cannot be written as an ISO date.
END_OF_TIME_MS = 253_402_300_800_000


@dataclass(frozen=True)
class Rule:
    """One way a row can be wrong; ``says`` is a format string over the columns of the row."""

    kind: str
    says: str
    breaks: Callable[[CandleArray], Mask]


@dataclass(frozen=True)
class Problem:
    """The rows (positions in the array) that break a rule, ascending, and the reason for each."""

    kind: str
    rows: NDArray[np.int64]
    reason: Callable[[int], str]


def _not_finite(candles: CandleArray) -> Mask:
    return np.asarray(~np.isfinite(candles[:, OPEN:]).all(axis=1))


def _not_positive(candles: CandleArray) -> Mask:
    return np.asarray((candles[:, OPEN : LOW + 1] <= 0).any(axis=1))


def _high_not_highest(candles: CandleArray) -> Mask:
    return np.asarray((candles[:, [OPEN, CLOSE]] > candles[:, [HIGH]]).any(axis=1))


def _low_not_lowest(candles: CandleArray) -> Mask:
    return np.asarray((candles[:, [OPEN, CLOSE]] < candles[:, [LOW]]).any(axis=1))


def _negative_volume(candles: CandleArray) -> Mask:
    return candles[:, VOLUME] < 0


PRICE_RULES = (
    Rule(
        "not_a_number",
        "a value is missing or not finite (open {1}, close {2}, high {3}, low {4}, volume {5})",
        _not_finite,
    ),
    Rule(
        "price_not_positive",
        "a price is not above zero (open {1}, close {2}, high {3}, low {4})",
        _not_positive,
    ),
    # A low above the high breaks one of these two as well, whatever the open is.
    Rule("high_not_highest", "high {3} is below the open {1} or the close {2}", _high_not_highest),
    Rule("low_not_lowest", "low {4} is above the open {1} or the close {2}", _low_not_lowest),
    Rule("negative_volume", "volume {5} is negative", _negative_volume),
)


def price_problems(candles: CandleArray) -> list[Problem]:
    """Everything wrong inside single rows of shape (n, 6), timestamps aside."""
    return [problem for rule in PRICE_RULES if (problem := _apply(rule, candles)) is not None]


def _apply(rule: Rule, candles: CandleArray) -> Problem | None:
    rows = np.flatnonzero(rule.breaks(candles))
    if not len(rows):
        return None
    return Problem(rule.kind, rows, lambda row: rule.says.format(*candles[row].tolist()))


def order_problems(timestamps: NDArray[np.int64]) -> list[Problem]:
    """Repeated timestamps and rows that come after a later one; ``timestamps`` in epoch ms."""
    problems: list[Problem] = []
    order = np.argsort(timestamps, kind="stable")
    ascending = timestamps[order]
    repeated = np.sort(order[1:][ascending[1:] == ascending[:-1]])
    if len(repeated):
        problems.append(
            Problem(
                "duplicate_timestamp",
                repeated,
                lambda row: f"{iso_minute(int(timestamps[row]))} is there twice",
            )
        )
    highest = np.maximum.accumulate(timestamps)
    late = np.flatnonzero(timestamps < highest)
    if len(late):
        problems.append(
            Problem(
                "out_of_order",
                late,
                lambda row: f"{iso_minute(int(timestamps[row]))} comes after {iso_minute(int(highest[row]))}",
            )
        )
    return problems


def refuse(
    subject: str,
    problems: list[Problem],
    *,
    row_number: Callable[[int], int] = int,
    hint: str = "correct the rows named; nothing was stored",
) -> None:
    """Raise ``candles_invalid`` naming the first offending rows when there are any problems.

    Args:
        subject: what was being read or written.
        problems: from the functions above.
        row_number: position in the array to the number the user knows the row by.
        hint: what to do next.

    Raises:
        ResearchError: ``candles_invalid``; ``details`` has ``problems`` (count by kind) and ``rows``.
    """
    if not problems:
        return
    found = [(int(row), problem) for problem in problems for row in problem.rows[:MAX_ROWS_NAMED]]
    named = sorted(found, key=lambda pair: pair[0])[:MAX_ROWS_NAMED]
    rows: list[dict[str, object]] = [
        {"row": row_number(row), "reason": problem.reason(row)} for row, problem in named
    ]
    bad = len(np.unique(np.concatenate([problem.rows for problem in problems])))
    first = f"row {rows[0]['row']}: {rows[0]['reason']}"
    raise ResearchError(
        ErrorCode.CANDLES_INVALID,
        f"{subject}: {bad} bad row{'s' if bad > 1 else ''}, the first is {first}",
        hint=hint,
        details={"problems": {problem.kind: len(problem.rows) for problem in problems}, "rows": rows},
    )


def validated(candles: CandleArray, subject: str) -> CandleArray:
    """A C-ordered copy of ``candles`` fit to be stored, shape (n, 6).

    Raises:
        ResearchError: ``candles_invalid`` for a wrong shape or any bad row; rows count from 0.
    """
    if candles.ndim != 2 or candles.shape[1] != 6:
        raise ResearchError(
            ErrorCode.CANDLES_INVALID,
            f"{subject}: the array has shape {candles.shape}, not (n, 6)",
            hint="give the columns timestamp_ms, open, close, high, low, volume",
        )
    rows = np.array(candles, dtype=np.float64, order="C")
    moments = rows[:, TIMESTAMP]
    on_minute = (
        np.isfinite(moments) & (moments % MINUTE_MS == 0) & (moments >= 0) & (moments < END_OF_TIME_MS)
    )
    problems = price_problems(rows)
    if on_minute.all():
        problems += order_problems(moments.astype(np.int64))
    else:
        problems.append(
            Problem(
                "timestamp_not_a_minute",
                np.flatnonzero(~on_minute),
                lambda row: f"timestamp {moments[row]} is not a multiple of 60000 ms",
            )
        )
    refuse(subject, problems)
    rows[:, VOLUME] += 0.0  # -0.0 equals 0.0 and must hash alike
    return rows
