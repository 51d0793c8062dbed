"""What is suspicious about one-minute candles. It proves no error: markets do strange things too."""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

MINUTE_MS = 60_000
DAY_MS = 86_400_000
TIMESTAMP, OPEN, CLOSE, HIGH, LOW, VOLUME = range(6)

#: Candles in a row with the same four prices before they are called frozen. Half an hour without any change
#: is normal only where nobody trades.
FROZEN_CANDLES = 30
#: Modified z-score above which a minute is an outlier: ten times the 3.5 that Iglewicz and Hoaglin recommend
#: for normal data. Returns of a minute have far heavier tails: drawn from Student's t with three degrees of
#: freedom, 3.5 would be exceeded 15 000 times a year and 35 about 17 times.
OUTLIER_SCORE = 35.0
#: The same for the move across a gap. It is compared with a random walk of that length, which is closer to
#: normal, hence the lower bar.
JUMP_SCORE = 10.0
#: An outlier of which the next minute takes back this part or more is a spike.
SPIKE_REVERSAL = 0.8
#: Iglewicz and Hoaglin: the expected MAD of standard normal data, which makes the score comparable with a
#: z-score.
_NORMAL_MAD = 0.6745
#: Beyond this not every whole number is a float.
_EXACT = 2.0**53
#: The largest log return that is still a number in percent.
_LARGEST_RETURN = 700.0


class Count(TypedDict):
    """``examples``: timestamps (epoch ms) of the first."""

    count: int
    examples: list[int]


class Run(TypedDict):
    start_ms: int
    minutes: int
    traded: bool


class Frozen(TypedDict):
    """Stretches of unchanged prices; ``traded`` are those with volume in them, ``longest`` is in minutes."""

    count: int
    candles: int
    traded: int
    longest: int
    examples: list[Run]


class ZeroVolume(TypedDict):
    """``share`` of all candles; ``longest`` in minutes, since ``longest_start_ms`` (``None`` without any)."""

    count: int
    share: float
    longest: int
    longest_start_ms: int | None


class Move(TypedDict):
    """``minutes`` from close to close; ``percent`` of the price before; ``score`` as in OUTLIER_SCORE."""

    timestamp_ms: int
    minutes: int
    percent: float
    score: float


class Moves(TypedDict):
    """``largest`` has the largest ``percent``, up or down, the first of equals; ``None`` without any."""

    count: int
    examples: list[Move]
    largest: Move | None


class Quality(TypedDict):
    """The result of :func:`candle_quality`; what a count is of, see there."""

    rows: int
    invalid: Count
    duplicates: Count
    out_of_order: Count
    frozen: Frozen
    zero_volume: ZeroVolume
    outliers: Moves
    spikes: Moves
    wicks: Moves
    gaps: int
    jumps: Moves


def candle_quality(candles: Floats, *, max_examples: int = 5) -> Quality:
    """Counts of what is suspicious, with the first examples of each and the largest move.

    * ``invalid``: rows with a value that is not finite, a timestamp off the minute, a price not above zero, a
      high or low that is not the extreme, or a negative volume;
    * ``duplicates``: rows whose timestamp another valid row has before them; ``out_of_order``: rows after a
      later one. Only the last of duplicates, in time order, are looked at further;
    * ``frozen``: :data:`FROZEN_CANDLES` or more candles of consecutive minutes with the same four prices;
    * ``zero_volume``: candles without volume;
    * ``outliers``: minutes whose log return from the close before has a modified z-score above
      :data:`OUTLIER_SCORE`; ``spikes``: those of them that the next minute takes back by
      :data:`SPIKE_REVERSAL` or more (it is an outlier too, as a rule, but no spike of its own);
    * ``wicks``: candles whose high or low is that far beyond the body;
    * ``gaps``: places where minutes are missing between candles; ``jumps``: those across which the price,
      from close to open, moved further than :data:`JUMP_SCORE` allows for a random walk of that length.

    The modified z-score is ``0.6745 |x - m| / MAD`` (B. Iglewicz and D. Hoaglin, How to Detect and Handle
    Outliers, ASQC Quality Press 1993, section 3.3). Here ``x`` is a log return, ``m`` is 0, which the median
    return of a minute is to less than a tick, and the MAD is that of the returns of the same UTC day which
    are not 0: in a quiet market most are, and the MAD of all would be 0 as well. A day with very few moves
    can hide an outlier among them.

    Args:
        candles: (n, 6) in Jesse order: epoch ms, open, close, high, low, volume; any order, any content.
        max_examples: of each kind.

    Raises:
        ValueError: for another shape, or negative ``max_examples``.
    """
    if candles.ndim != 2 or candles.shape[1] != 6:
        raise ValueError(f"candles have shape {candles.shape}, not (n, 6)")
    if max_examples < 0:
        raise ValueError(f"max_examples is {max_examples}; it must not be negative")
    invalid = _invalid(candles)
    valid = candles[~invalid]
    moments = valid[:, TIMESTAMP]
    duplicate, kept = _in_time_order(moments)
    late = moments < np.maximum.accumulate(moments) if len(moments) else np.empty(0, dtype=bool)
    market = _market(valid[kept])
    outliers, spikes = _outliers(market)
    gaps, jumps = _jumps(market)
    return Quality(
        rows=len(candles),
        invalid=_count(candles[invalid, TIMESTAMP], max_examples),
        duplicates=_count(moments[duplicate], max_examples),
        out_of_order=_count(moments[late], max_examples),
        frozen=_frozen(market, max_examples),
        zero_volume=_zero_volume(market),
        outliers=outliers.described(max_examples),
        spikes=spikes.described(max_examples),
        wicks=_wicks(market).described(max_examples),
        gaps=gaps,
        jumps=jumps.described(max_examples),
    )


@dataclass(frozen=True)
class _Market:
    """Valid candles (n, 6) in time order, each minute once, and what several checks need of them.

    ``follows`` says of every row but the first whether it is of the minute after the row before,
    ``positions`` where it does, ``returns`` are the log returns there. ``scale`` is for every row the median
    of the absolute nonzero returns of its UTC day; infinite when there are none, so that nothing is far on a
    day that says nothing about how far prices move.
    """

    rows: Floats
    follows: Mask
    positions: Integers
    returns: Floats
    scale: Floats

    def moves(self, positions: Integers, minutes: Integers, returns: Floats, scale: Floats) -> "_Moves":
        moments = self.rows[positions, TIMESTAMP].astype(np.int64)
        return _Moves(moments, minutes, returns, _NORMAL_MAD * np.abs(returns) / scale)


@dataclass(frozen=True)
class _Moves:
    """Moves as arrays: epoch ms, minutes, log return, score."""

    moments: Integers
    minutes: Integers
    returns: Floats
    scores: Floats

    def where(self, wanted: Mask) -> "_Moves":
        return _Moves(self.moments[wanted], self.minutes[wanted], self.returns[wanted], self.scores[wanted])

    def described(self, max_examples: int) -> Moves:
        changes = np.expm1(np.minimum(self.returns, _LARGEST_RETURN))

        def move(position: int) -> Move:
            return Move(
                timestamp_ms=int(self.moments[position]),
                minutes=int(self.minutes[position]),
                percent=100 * float(changes[position]),
                score=float(self.scores[position]),
            )

        return Moves(
            count=len(changes),
            examples=[move(position) for position in range(min(max_examples, len(changes)))],
            largest=move(int(np.argmax(np.abs(changes)))) if len(changes) else None,
        )


def _invalid(candles: Floats) -> Mask:
    prices = candles[:, OPEN : LOW + 1]
    bodies = candles[:, [OPEN, CLOSE]]
    with np.errstate(invalid="ignore"):
        return np.asarray(
            ~np.isfinite(candles).all(axis=1)
            | (candles[:, TIMESTAMP] % MINUTE_MS != 0)
            | (np.abs(candles[:, TIMESTAMP]) > _EXACT)
            | (prices <= 0).any(axis=1)
            | (bodies > candles[:, [HIGH]]).any(axis=1)
            | (bodies < candles[:, [LOW]]).any(axis=1)
            | (candles[:, VOLUME] < 0)
        )


def _in_time_order(moments: Floats) -> tuple[Mask, Integers]:
    """Which rows repeat an earlier one, and the positions of the last row of every moment, ascending."""
    order = np.argsort(moments, kind="stable")
    same = moments[order][1:] == moments[order][:-1]
    duplicate = np.zeros(len(moments), dtype=bool)
    duplicate[order[1:][same]] = True
    return duplicate, order[np.append(~same, True)] if len(order) else order


def _count(moments: Floats, max_examples: int) -> Count:
    """A moment that is not finite is in the count, but cannot be an example."""
    shown = moments[np.abs(moments) <= _EXACT][:max_examples]
    return Count(count=len(moments), examples=shown.astype(np.int64).tolist())


def _runs(wanted: Mask) -> tuple[Integers, Integers]:
    """First position and length of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], wanted, [False]))))
    return edges[::2], edges[1::2] - edges[::2]


def _market(rows: Floats) -> _Market:
    follows = np.diff(rows[:, TIMESTAMP]) == MINUTE_MS
    positions = np.flatnonzero(follows) + 1
    close = np.log(rows[:, CLOSE])  # a difference of logarithms, as a ratio may overflow
    returns = close[positions] - close[positions - 1]
    scale = _scale_of_days(rows[:, TIMESTAMP] // DAY_MS, positions, returns)
    return _Market(rows, follows, positions, returns, scale)


def _scale_of_days(days: Floats, positions: Integers, returns: Floats) -> Floats:
    moving = returns != 0
    known, first = np.unique(days[positions[moving]], return_index=True)
    if not len(known):
        return np.full(len(days), np.inf)
    medians = np.array([np.median(day) for day in np.split(np.abs(returns[moving]), first[1:])])
    place = np.minimum(np.searchsorted(known, days), len(known) - 1)
    return np.where(known[place] == days, medians[place], np.inf)


def _frozen(market: _Market, max_examples: int) -> Frozen:
    prices = market.rows[:, OPEN : LOW + 1]
    starts, repeats = _runs((prices[1:] == prices[:-1]).all(axis=1) & market.follows)
    lengths = repeats + 1
    long = lengths >= FROZEN_CANDLES
    starts, lengths = starts[long], lengths[long]
    traded_before = np.concatenate(([0], np.cumsum(market.rows[:, VOLUME] > 0)))
    traded = traded_before[starts + lengths] > traded_before[starts]
    return Frozen(
        count=len(starts),
        candles=int(lengths.sum()),
        traded=int(traded.sum()),
        longest=int(lengths.max(initial=0)),
        examples=[
            Run(start_ms=int(market.rows[start, TIMESTAMP]), minutes=int(length), traded=bool(with_volume))
            for start, length, with_volume in zip(
                starts[:max_examples], lengths[:max_examples], traded[:max_examples], strict=True
            )
        ],
    )


def _zero_volume(market: _Market) -> ZeroVolume:
    empty = market.rows[:, VOLUME] == 0
    count = int(empty.sum())
    longest, start = min(count, 1), int(np.argmax(empty)) if count else None
    starts, repeats = _runs(empty[1:] & empty[:-1] & market.follows)
    if len(starts):
        position = int(np.argmax(repeats))
        longest, start = int(repeats[position]) + 1, int(starts[position])
    return ZeroVolume(
        count=count,
        share=count / len(empty) if count else 0.0,
        longest=longest,
        longest_start_ms=None if start is None else int(market.rows[start, TIMESTAMP]),
    )


def _outliers(market: _Market) -> tuple[_Moves, _Moves]:
    positions, returns = market.positions, market.returns
    moves = market.moves(positions, np.ones_like(positions), returns, market.scale[positions])
    outlier = moves.scores > OUTLIER_SCORE
    spike = np.zeros(len(outlier), dtype=bool)
    next_minute = positions[1:] == positions[:-1] + 1
    left = np.abs(returns[:-1] + returns[1:])
    spike[:-1] = outlier[:-1] & next_minute & (left <= (1 - SPIKE_REVERSAL) * np.abs(returns[:-1]))
    # Of a zigzag every other leg is a spike: the way back of one is not the way out of the next.
    for start, length in zip(*_runs(spike), strict=True):
        spike[start + 1 : start + length : 2] = False
    return moves.where(outlier), moves.where(spike)


def _wicks(market: _Market) -> _Moves:
    """The longer wick of every candle in which it is too long."""
    rows = market.rows
    above = np.log(rows[:, HIGH]) - np.log(np.maximum(rows[:, OPEN], rows[:, CLOSE]))
    below = np.log(rows[:, LOW]) - np.log(np.minimum(rows[:, OPEN], rows[:, CLOSE]))
    positions = np.arange(len(rows))
    returns = np.where(above > -below, above, below)
    moves = market.moves(positions, np.ones_like(positions), returns, market.scale)
    return moves.where(moves.scores > OUTLIER_SCORE)


def _jumps(market: _Market) -> tuple[int, _Moves]:
    rows, scale = market.rows, market.scale
    positions = np.flatnonzero(~market.follows) + 1
    minutes = ((rows[positions, TIMESTAMP] - rows[positions - 1, TIMESTAMP]) // MINUTE_MS).astype(np.int64)
    returns = np.log(rows[positions, OPEN]) - np.log(rows[positions - 1, CLOSE])
    # A day without a move has no scale; that of the other side has to do, else the livelier of the two.
    before, after = scale[positions - 1], scale[positions]
    either = np.where(np.isinf(before), after, np.where(np.isinf(after), before, np.maximum(before, after)))
    moves = market.moves(positions, minutes, returns, either * np.sqrt(minutes))
    return len(positions), moves.where(moves.scores > JUMP_SCORE)
