"""What a series lacks, and why."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.intervals import Interval, Intervals, split
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.retention import kept_since
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute

GapKind = Literal["not_asked", "no_trades", "outage", "before_listing", "not_kept"]
GAP_KINDS: tuple[GapKind, ...] = get_args(GapKind)
_NOT_ASKED, _NO_TRADES, _OUTAGE, _BEFORE_LISTING, _NOT_KEPT = range(len(GAP_KINDS))

#: A market of an exchange that leaves out minutes without trades may be quiet for this long; what is longer
#: is called an outage, since nothing in the answer tells the two apart.
LONGEST_QUIET_MINUTES = 60

#: Exchanges whose API has no candle for a minute without a trade. All others are taken to send one with
#: volume 0, as Binance does ("Binance does NOT skip candles with volume=0", driver of Jesse 3.5).
_LEAVE_OUT_QUIET_MINUTES = frozenset(
    {
        # "Bitfinex API skips candles with volume=0" (Jesse's driver); "candles will not be generated if there
        # was no trading volume" (the exchange, github.com/bitfinexcom/bitfinex-api-py/issues/198).
        "Bitfinex Spot",
        # "No data is published for intervals where there are no ticks":
        # docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
        "Coinbase Spot",
        # The same sentence: www.kucoin.com/docs-new/rest/spot-trading/market-data/get-klines
        "KuCoin Spot",
        # The same sentence: www.kucoin.com/docs-new/rest/futures-trading/market-data/get-klines
        "KuCoin USDT Perpetual",
        # "only includes entries for intervals when trades happened":
        # support.kraken.com, article 360047124832, on the data of the OHLC endpoint and the downloads.
        "Kraken Pro Spot",
    }
)

#: Part of the schema every agent reads, hence so short; :func:`explained_runs` has the rules.
_KINDS = (
    f"not_asked by any import; not_kept: too old for the exchange; or it has none: no_trades (up to "
    f"{LONGEST_QUIET_MINUTES} minutes; it skips those without), before_listing, outage"
)


class Gap(Value):
    """A run of missing minutes; both ends are missing themselves."""

    start: str = Field(description="first missing minute, UTC")
    end: str = Field(description="last missing minute, UTC")
    minutes: int


# Without a docstring, which would be one more sentence in the schema.
class ExplainedGap(Gap):
    kind: GapKind = Field(description=_KINDS)


@dataclass(frozen=True)
class Runs:
    """Gaps as arrays, ascending: first missing minute (epoch ms), length (minutes), index of the kind."""

    starts: NDArray[np.int64]
    minutes: NDArray[np.int64]
    kinds: NDArray[np.int64]

    def by_kind(self) -> dict[str, int]:
        """Missing minutes of every kind there is."""
        totals = np.bincount(self.kinds, weights=self.minutes, minlength=len(GAP_KINDS))
        return {kind: int(total) for kind, total in zip(GAP_KINDS, totals, strict=True) if total}

    def gap(self, position: int) -> ExplainedGap:
        run = gap_at(int(self.starts[position]), int(self.minutes[position]))
        return ExplainedGap(**run.model_dump(), kind=GAP_KINDS[self.kinds[position]])


def gap_at(start_ms: int, minutes: int) -> Gap:
    """The gap of ``minutes`` that begins at ``start_ms``."""
    last = start_ms + (minutes - 1) * MINUTE_MS
    return Gap(start=iso_minute(start_ms), end=iso_minute(last), minutes=minutes)


def leaves_out_quiet_minutes(exchange: str) -> bool:
    """Whether the API of ``exchange`` (Jesse's name) has no candle for a minute without a trade."""
    return exchange in _LEAVE_OUT_QUIET_MINUTES


def missing_runs(
    timestamps: NDArray[np.int64], start_ms: int, end_ms: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First missing minute (epoch ms) and length (minutes) of every gap in ``[start_ms, end_ms)``.

    ``timestamps`` are the candles inside that range, ascending; the edges of the range count as gaps too.
    """
    edges = np.concatenate(([start_ms - MINUTE_MS], timestamps, [end_ms]))
    minutes = np.diff(edges) // MINUTE_MS - 1
    gaps = np.flatnonzero(minutes > 0)
    return edges[gaps] + MINUTE_MS, minutes[gaps]


def explained_runs(
    exchange: str,
    timestamps: NDArray[np.int64],
    answered: Intervals,
    start_ms: int,
    end_ms: int,
    *,
    now_ms: int,
) -> Runs:
    """Gaps of ``[start_ms, end_ms)``, each for one reason; two may touch.

    A gap that the range cuts is explained by its whole length, so that the reason for a minute is the same
    whatever range is asked for. The kinds:

    * ``not_asked``: no exchange was asked for these minutes;
    * ``not_kept``: nor can it be: the exchange keeps only later ones (:mod:`jesse_mcp.domain.retention`);
    * ``before_listing``: asked and answered as empty, before the first candle of the series (all that was
      answered, when there is no candle);
    * ``no_trades``: asked and answered as empty, for :data:`LONGEST_QUIET_MINUTES` at most, by an exchange
      that :func:`leaves_out_quiet_minutes`;
    * ``outage``: asked and answered as empty otherwise.

    Args:
        exchange: Jesse's name.
        timestamps: of the whole series, ascending epoch ms.
        answered: ranges an exchange answered for.
        start_ms: of the range, a whole minute.
        end_ms: exclusive.
        now_ms: the present, which decides what an exchange still keeps.
    """
    first = int(timestamps[0]) if len(timestamps) else end_ms
    after_last = int(timestamps[-1]) + MINUTE_MS if len(timestamps) else start_ms
    low = min(start_ms, first, *(start for start, _ in answered[:1]))
    high = max(end_ms, after_last, *(end for _, end in answered[-1:]))
    starts, minutes = missing_runs(timestamps, low, high)
    starts, ends, known = split((starts, starts + minutes * MINUTE_MS), answered)
    kept_from = kept_since(exchange, now_ms)
    kept_from = low if kept_from is None else kept_from
    starts, ends, known = _unknown_divided(starts, ends, known, kept_from)
    unlisted = ends <= (first if len(timestamps) else high)
    quiet = (ends - starts <= LONGEST_QUIET_MINUTES * MINUTE_MS) & leaves_out_quiet_minutes(exchange)
    kinds = np.select(
        [~known & (starts < kept_from), ~known, unlisted, quiet],
        [_NOT_KEPT, _NOT_ASKED, _BEFORE_LISTING, _NO_TRADES],
        _OUTAGE,
    )
    starts, ends = np.maximum(starts, start_ms), np.minimum(ends, end_ms)
    inside = starts < ends
    return Runs(starts[inside], (ends - starts)[inside] // MINUTE_MS, kinds[inside])


def _unknown_divided(
    starts: NDArray[np.int64], ends: NDArray[np.int64], known: NDArray[np.bool_], moment: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The pieces, with the unknown one around ``moment``, if there is one, made two."""
    around = np.flatnonzero(~known & (starts < moment) & (moment < ends))
    return (
        np.insert(starts, around + 1, moment),
        np.insert(ends, around, moment),
        np.insert(known, around + 1, False),
    )


def unanswered(
    timestamps: NDArray[np.int64], answered: Intervals, start_ms: int, end_ms: int
) -> list[Interval]:
    """What an import of ``[start_ms, end_ms)`` has to ask for, ascending: neither stored nor answered.

    Raises:
        ResearchError: ``invalid_argument`` when the range is reversed or not on whole minutes.
    """
    check_range(start_ms, end_ms)
    low, high = np.searchsorted(timestamps, [start_ms, end_ms])
    starts, minutes = missing_runs(timestamps[low:high], start_ms, end_ms)
    begins, ends, known = split((starts, starts + minutes * MINUTE_MS), answered)
    return list(zip(begins[~known].tolist(), ends[~known].tolist(), strict=True))


def check_range(start_ms: int, end_ms: int) -> None:
    """Raises: ResearchError: ``invalid_argument`` for a range that is reversed or not of whole minutes."""
    if start_ms % MINUTE_MS or end_ms % MINUTE_MS or end_ms < start_ms:
        raise ResearchError(
            ErrorCode.INVALID_ARGUMENT,
            f"the range is {start_ms} to {end_ms} (epoch ms), not a range of whole minutes",
            hint="give a start before the end, both multiples of 60000",
        )
