"""Why minutes are missing: every minute explained once, the same whatever range is asked for."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jesse_mcp.domain.candles import measure_coverage
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.gaps import GAP_KINDS, explained_runs, leaves_out_quiet_minutes, unanswered
from jesse_mcp.domain.intervals import Intervals, split, union, without
from jesse_mcp.domain.retention import kept_minutes, kept_since

START = 1_672_531_200_000
MINUTE = 60_000
SPARSE, DENSE = "Bitfinex Spot", "Binance Spot"


def ms(minute: int) -> int:
    return START + minute * MINUTE


def stamps(*minutes: int) -> NDArray[np.int64]:
    return np.array([ms(minute) for minute in minutes], dtype=np.int64)


def spans(*minutes: tuple[int, int]) -> Intervals:
    return tuple((ms(start), ms(end)) for start, end in minutes)


def explained(
    exchange: str, candles: NDArray[np.int64], answered: Intervals, start: int, end: int, now: int = 1000
) -> list[tuple[int, int, str]]:
    runs = explained_runs(exchange, candles, answered, ms(start), ms(end), now_ms=ms(now))
    return [
        ((int(first) - START) // MINUTE, int(length), GAP_KINDS[kind])
        for first, length, kind in zip(runs.starts, runs.minutes, runs.kinds, strict=True)
    ]


# --- intervals -------------------------------------------------------------------------------------------

interval = st.tuples(st.integers(0, 40), st.integers(-2, 12)).map(lambda pair: (pair[0], sum(pair)))
intervals = st.lists(interval, max_size=8)


def members(some: object) -> set[int]:
    assert isinstance(some, list | tuple)
    return {moment for start, end in some for moment in range(start, end)}


def normal(some: Intervals) -> bool:
    edges = [edge for one in some for edge in one]
    return edges == sorted(set(edges))


@given(intervals)
def test_a_union_is_that_of_the_sets(some: list[tuple[int, int]]) -> None:
    merged = union(some)
    assert members(merged) == members(some)
    assert normal(merged)
    assert union(reversed(merged)) == merged


@given(intervals, st.integers(-5, 50) | st.none(), st.integers(-5, 50) | st.none())
def test_taking_a_range_out(some: list[tuple[int, int]], start: int | None, end: int | None) -> None:
    left = without(union(some), start, end)
    gone = range(-10 if start is None else start, 100 if end is None else end)
    assert members(left) == members(some) - set(gone)
    assert normal(left)


@given(intervals, intervals)
def test_pieces_are_inside_or_outside(some: list[tuple[int, int]], cuts: list[tuple[int, int]]) -> None:
    whole, inner = union(some), union(cuts)
    arrays = np.array(whole, dtype=np.int64).reshape(-1, 2).T
    starts, ends, inside = split((arrays[0], arrays[1]), inner)
    pieces = list(zip(starts.tolist(), ends.tolist(), inside.tolist(), strict=True))
    assert members([piece[:2] for piece in pieces]) == members(whole)
    assert members([piece[:2] for piece in pieces if piece[2]]) == members(whole) & members(inner)
    for before, after in itertools.pairwise(pieces):
        assert before[1] <= after[0]
        assert before[1] < after[0] or before[2] != after[2], "pieces are as long as can be"


# --- kinds -----------------------------------------------------------------------------------------------


def test_kinds_by_hand() -> None:
    candles = stamps(100, 103, 200, 300)
    answered = spans((50, 250))
    assert explained(SPARSE, candles, answered, 0, 310) == [
        (0, 50, "not_asked"),
        (50, 50, "before_listing"),
        (101, 2, "no_trades"),
        (104, 96, "outage"),
        (201, 49, "no_trades"),
        (250, 50, "not_asked"),
        (301, 9, "not_asked"),
    ]
    kinds = [kind for _, _, kind in explained(DENSE, candles, answered, 0, 310)]
    assert kinds == ["not_asked", "before_listing", "outage", "outage", "outage", "not_asked", "not_asked"]


@pytest.mark.parametrize(("length", "kind"), [(60, "no_trades"), (61, "outage")])
def test_quiet_for_an_hour_at_most(length: int, kind: str) -> None:
    candles = stamps(0, length + 1)
    assert explained(SPARSE, candles, spans((0, 100)), 0, length + 2) == [(1, length, kind)]


def test_after_the_last_candle() -> None:
    """As of a symbol that is traded no more."""
    assert explained(SPARSE, stamps(0), spans((0, 200)), 0, 210) == [
        (1, 199, "outage"),
        (200, 10, "not_asked"),
    ]


def test_without_a_candle_all_that_is_known_is_before_the_listing() -> None:
    assert explained(DENSE, stamps(), spans((5, 10)), 0, 20) == [
        (0, 5, "not_asked"),
        (5, 5, "before_listing"),
        (10, 10, "not_asked"),
    ]
    assert explained(DENSE, stamps(), (), 0, 0) == []


@pytest.mark.parametrize(
    ("exchange", "expected"),
    [
        ("Bitfinex Spot", True),
        ("Coinbase Spot", True),
        ("KuCoin Spot", True),
        ("KuCoin USDT Perpetual", True),
        ("Kraken Pro Spot", True),
        ("Binance Spot", False),
        ("Binance Perpetual Futures", False),
        ("Hyperliquid Perpetual", False),
        ("Unheard Of", False),
    ],
)
def test_exchanges_that_leave_out_quiet_minutes(exchange: str, expected: bool) -> None:
    assert leaves_out_quiet_minutes(exchange) is expected


KEEPS_LITTLE = "Kraken Pro Spot"  # the latest 720 minutes


def test_what_an_exchange_no_longer_keeps() -> None:
    candles, answered = stamps(100, 200), spans((80, 150))
    expected = [
        (0, 80, "not_kept"),
        (80, 20, "before_listing"),
        (101, 49, "no_trades"),
        (150, 20, "not_kept"),
        (170, 30, "not_asked"),
        (201, 99, "not_asked"),
    ]
    # Of 720 minutes ten are no longer counted on.
    assert explained(KEEPS_LITTLE, candles, answered, 0, 300, now=880) == expected
    later = [kind for _, _, kind in explained(KEEPS_LITTLE, candles, answered, 0, 300, now=2000)]
    assert later == ["not_kept", "before_listing", "no_trades", "not_kept", "not_kept"]
    never = [kind for _, _, kind in explained(SPARSE, candles, answered, 0, 300, now=10**6)]
    assert "not_kept" not in never


@pytest.mark.parametrize(
    ("exchange", "minutes"),
    [
        ("Gate Spot", 10_000),
        ("Gate USDT Perpetual", 10_000),
        ("Hyperliquid Perpetual", 5_000),
        ("Kraken Pro Spot", 720),
        ("Lighter Perpetual", 129 * 1440),
        ("Kraken Pro Futures", None),
        ("Binance Spot", None),
    ],
)
def test_how_long_exchanges_keep_candles(exchange: str, minutes: int | None) -> None:
    assert kept_minutes(exchange) == minutes
    since = kept_since(exchange, ms(20_000) + 59_999)
    assert since == (None if minutes is None else ms(20_010 - minutes))


minutes = st.sets(st.integers(0, 150), max_size=40).map(sorted)
ranges = st.tuples(st.integers(-20, 170), st.integers(0, 100)).map(lambda pair: (pair[0], sum(pair)))
asked = st.lists(st.tuples(st.integers(-10, 150), st.integers(0, 80)), max_size=5).map(
    lambda pairs: [(start, start + length) for start, length in pairs]
)


def naive_kinds(exchange: str, candles: list[int], known: set[int], now: int) -> dict[int, str]:
    """Each missing minute from -100 to 400, one at a time."""
    missing = [minute for minute in range(-100, 400) if minute not in candles]
    first = min(candles, default=400)
    kinds: dict[int, str] = {}
    for minute in missing:
        if minute not in known:
            kept = exchange != KEEPS_LITTLE or minute >= now - 710
            kinds[minute] = "not_asked" if kept else "not_kept"
        elif minute < first:
            kinds[minute] = "before_listing"
        else:
            low = high = minute
            while low - 1 in known and low - 1 not in candles:
                low -= 1
            while high + 1 in known and high + 1 not in candles:
                high += 1
            short = high - low + 1 <= 60 and exchange != DENSE
            kinds[minute] = "no_trades" if short else "outage"
    return kinds


@given(
    candles=minutes,
    answered=asked,
    wanted=ranges,
    exchange=st.sampled_from([SPARSE, DENSE, KEEPS_LITTLE]),
    now=st.integers(650, 950),
)
def test_every_minute_is_explained_as_if_it_were_the_only_one(
    candles: list[int], answered: list[tuple[int, int]], wanted: tuple[int, int], exchange: str, now: int
) -> None:
    start, end = wanted
    kinds = naive_kinds(exchange, candles, members(answered), now)
    runs = explained(exchange, stamps(*candles), union(spans(*answered)), start, end, now)
    found = {first + n: kind for first, length, kind in runs for n in range(length)}
    assert found == {minute: kind for minute, kind in kinds.items() if start <= minute < end}
    assert sum(length for _, length, _ in runs) == len(found)
    for before, after in itertools.pairwise(runs):
        assert before[0] + before[1] < after[0] or before[2] != after[2]


@given(candles=minutes, answered=asked, wanted=ranges)
def test_coverage_counts_what_is_explained(
    candles: list[int], answered: list[tuple[int, int]], wanted: tuple[int, int]
) -> None:
    start, end = wanted
    known = union(spans(*answered))
    runs = explained(SPARSE, stamps(*candles), known, start, end)
    coverage = measure_coverage(SPARSE, stamps(*candles), known, ms(start), ms(end), 3, now_ms=ms(1000))
    assert coverage.gap_count == len(runs)
    assert coverage.expected - coverage.present == sum(coverage.missing_by_kind.values())
    for kind in GAP_KINDS:
        total = sum(length for _, length, found in runs if found == kind)
        assert coverage.missing_by_kind.get(kind, 0) == total
        assert (kind in coverage.missing_by_kind) == (total > 0)
    longest = sorted(runs, key=lambda run: -run[1])[:3]
    assert [(gap.minutes, gap.kind) for gap in coverage.gaps] == [(n, kind) for _, n, kind in longest]
    assert (coverage.first_missing is None) == (not runs)


@given(candles=minutes, answered=asked, wanted=ranges)
def test_what_is_left_to_ask_for(
    candles: list[int], answered: list[tuple[int, int]], wanted: tuple[int, int]
) -> None:
    start, end = wanted
    left = unanswered(stamps(*candles), union(spans(*answered)), ms(start), ms(end))
    as_minutes = [((a - START) // MINUTE, (b - START) // MINUTE) for a, b in left]
    assert members(as_minutes) == set(range(start, end)) - set(candles) - members(answered)
    assert normal(tuple(as_minutes))


@pytest.mark.parametrize(("start", "end"), [(1, MINUTE), (MINUTE, 0)])
def test_ranges_are_of_whole_minutes(start: int, end: int) -> None:
    with pytest.raises(ResearchError) as caught:
        unanswered(stamps(), (), start, end)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
