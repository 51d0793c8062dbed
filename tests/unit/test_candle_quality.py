"""Planted defects are found and counted exactly; a slow, separate implementation agrees on anything."""

import itertools
import math
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jesse_mcp.analytics.candle_quality import (
    FROZEN_CANDLES,
    JUMP_SCORE,
    OUTLIER_SCORE,
    Quality,
    candle_quality,
)
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CLOSE, HIGH, LOW, OPEN, TIMESTAMP, VOLUME, CandleArray
from jesse_mcp.domain.model import Value

START = 1_672_531_200_000
MINUTE = 60_000
DAY = 1_440


def market(minutes: int = 3 * DAY, seed: int = 1) -> CandleArray:
    return synthetic_candles(START, minutes, seed)


def minute(row: int) -> int:
    return START + row * MINUTE


def counts(found: Quality) -> dict[str, int]:
    """Everything there is to find, but what is 0."""
    totals = {name: value["count"] for name, value in found.items() if isinstance(value, dict)}
    return {name: count for name, count in totals.items() if count}


def level(rows: CandleArray, first: int, last: int, factor: float) -> None:
    """Multiply all prices of a range."""
    rows[first:last, OPEN : LOW + 1] *= factor


def test_a_clean_market_has_nothing_to_report() -> None:
    found = candle_quality(market(10 * DAY))
    assert counts(found) == {}
    assert (found["rows"], found["gaps"]) == (10 * DAY, 0)


# --- planted defects -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "count"), [(FROZEN_CANDLES - 1, 0), (FROZEN_CANDLES, 1), (100, 1)])
@pytest.mark.parametrize("volume", [0.0, 5.0])
def test_frozen_prices(length: int, count: int, volume: float) -> None:
    rows = market()
    rows[200 : 200 + length, OPEN : LOW + 1] = rows[200, CLOSE]
    rows[200 : 200 + length, VOLUME] = volume
    frozen = candle_quality(rows)["frozen"]
    assert (frozen["count"], frozen["candles"], frozen["longest"]) == (count, count * length, count * length)
    assert frozen["traded"] == (count if volume else 0)
    expected = [{"start_ms": minute(200), "minutes": length, "traded": volume > 0}]
    assert frozen["examples"] == expected[:count]


def test_one_traded_minute_makes_a_frozen_stretch_traded() -> None:
    rows = market()
    for start in (100, 300):
        rows[start : start + 40, OPEN : LOW + 1] = rows[start, CLOSE]
        rows[start : start + 40, VOLUME] = 0
    rows[339, VOLUME] = 1
    frozen = candle_quality(rows)["frozen"]
    assert (frozen["count"], frozen["traded"]) == (2, 1)
    assert [run["traded"] for run in frozen["examples"]] == [False, True]


def test_a_gap_ends_what_is_frozen() -> None:
    rows = market()
    rows[100:160, OPEN : LOW + 1] = rows[100, CLOSE]
    assert candle_quality(np.delete(rows, 129, axis=0))["frozen"]["count"] == 1
    assert candle_quality(np.delete(rows, 130, axis=0))["frozen"]["candles"] == 30
    assert candle_quality(np.delete(rows, [129, 130], axis=0))["frozen"]["count"] == 0


def test_candles_that_repeat_but_are_not_flat_are_frozen_too() -> None:
    rows = market()
    rows[100:140, OPEN:] = rows[100, OPEN:]
    assert candle_quality(rows)["frozen"]["candles"] == 40


def test_zero_volume() -> None:
    rows = market()
    rows[[5, 10, 11, 12, 20, 21, 30], VOLUME] = 0
    assert candle_quality(rows)["zero_volume"] == {
        "count": 7,
        "share": 7 / len(rows),
        "longest": 3,
        "longest_start_ms": minute(10),
    }
    apart = candle_quality(np.delete(rows, 11, axis=0))["zero_volume"]
    assert (apart["longest"], apart["longest_start_ms"]) == (2, minute(20))
    rows[:, VOLUME] = 1
    rows[77, VOLUME] = 0
    alone = candle_quality(rows)["zero_volume"]
    assert (alone["longest"], alone["longest_start_ms"]) == (1, minute(77))


def test_a_spike_is_one_spike_of_two_outliers() -> None:
    rows = market()
    level(rows, 1_000, 1_001, 1.10)
    found = candle_quality(rows)
    assert (found["outliers"]["count"], found["spikes"]["count"]) == (2, 1)
    spike = found["spikes"]["examples"][0]
    assert (spike["timestamp_ms"], spike["minutes"]) == (minute(1_000), 1)
    assert spike["percent"] == pytest.approx(10, abs=0.5)
    assert spike["score"] > OUTLIER_SCORE
    assert [move["timestamp_ms"] for move in found["outliers"]["examples"]] == [minute(1_000), minute(1_001)]


def test_a_move_that_stays_is_no_spike() -> None:
    rows = market()
    level(rows, 1_000, len(rows), 0.9)
    found = candle_quality(rows)
    assert (found["outliers"]["count"], found["spikes"]["count"]) == (1, 0)
    assert found["outliers"]["examples"][0]["percent"] == pytest.approx(-10, abs=0.5)


@pytest.mark.parametrize(("back", "spikes"), [(1.013, 1), (1.03, 0)])
def test_a_spike_is_taken_back_for_the_most_part(back: float, spikes: int) -> None:
    rows = market()
    level(rows, 1_000, 1_001, 1.10)
    level(rows, 1_001, len(rows), back)
    assert candle_quality(rows)["spikes"]["count"] == spikes


def test_a_zigzag_is_counted_once_per_way_out() -> None:
    rows = market()
    for row in (500, 502, 504):
        level(rows, row, row + 1, 1.10)
    found = candle_quality(rows)
    assert (found["outliers"]["count"], found["spikes"]["count"]) == (6, 3)
    assert [move["timestamp_ms"] for move in found["spikes"]["examples"]] == [
        minute(row) for row in (500, 502, 504)
    ]


def test_what_follows_a_gap_takes_nothing_back() -> None:
    rows = market()
    level(rows, 1_000, 1_001, 1.10)
    found = candle_quality(np.delete(rows, slice(1_001, 1_010), axis=0))
    assert (found["outliers"]["count"], found["spikes"]["count"], found["jumps"]["count"]) == (1, 0, 1)


def test_wicks() -> None:
    rows = market()
    rows[10, HIGH] *= 1.2
    rows[20, LOW] *= 0.8
    wicks = candle_quality(rows)["wicks"]
    assert counts(candle_quality(rows)) == {"wicks": 2}
    assert [move["timestamp_ms"] for move in wicks["examples"]] == [minute(10), minute(20)]
    assert [round(move["percent"]) for move in wicks["examples"]] == [20, -20]


@pytest.mark.parametrize(("factor", "count"), [(1.0, 0), (1.2, 1)])
def test_a_jump_across_a_gap(factor: float, count: int) -> None:
    rows = market()
    level(rows, 1_010, len(rows), factor)
    found = candle_quality(np.delete(rows, [*range(1_000, 1_010), 2_000], axis=0))
    assert found["gaps"] == 2
    assert counts(found) == ({"jumps": 1} if count else {})
    for move in found["jumps"]["examples"]:
        assert (move["timestamp_ms"], move["minutes"]) == (minute(1_010), 11)
        assert move["percent"] == pytest.approx(20, abs=1)


def test_the_longer_the_gap_the_more_may_happen_in_it() -> None:
    rows = market(20 * DAY)
    level(rows, 10 * DAY, len(rows), 1.05)
    assert candle_quality(np.delete(rows, 10 * DAY - 1, axis=0))["jumps"]["count"] == 1
    assert candle_quality(np.delete(rows, slice(5 * DAY, 10 * DAY), axis=0))["jumps"]["count"] == 0


DEFECTS = [
    (OPEN, math.nan),
    (VOLUME, math.inf),
    (VOLUME, -1.0),
    (LOW, 0.0),
    (HIGH, 1e-9),
    (LOW, 1e9),
    (TIMESTAMP, START + 1.0),
]


@pytest.mark.parametrize(("column", "value"), DEFECTS)
def test_invalid_rows_are_counted_and_left_out(column: int, value: float) -> None:
    rows = market()
    rows[[7, 70], column] = value
    found = candle_quality(rows)
    assert counts(found) == {"invalid": 2}
    assert found["gaps"] == 2
    shown = [START + 1] * 2 if column == TIMESTAMP else [minute(7), minute(70)]
    assert found["invalid"]["examples"] == shown


def test_a_timestamp_that_is_no_number_is_no_example() -> None:
    rows = market(10)
    rows[:3, TIMESTAMP] = [math.nan, math.inf, 6e300]
    assert candle_quality(rows)["invalid"] == {"count": 3, "examples": []}


def test_duplicates_and_disorder() -> None:
    rows = market()
    twice = np.insert(rows, [11, 11, 21], rows[[10, 10, 20]], axis=0)
    found = candle_quality(twice)
    assert counts(found) == {"duplicates": 3}
    assert found["duplicates"]["examples"] == [minute(10), minute(10), minute(20)]
    swapped = rows.copy()
    swapped[[30, 31]] = swapped[[31, 30]]
    found = candle_quality(swapped)
    assert counts(found) == {"out_of_order": 1}
    assert found["out_of_order"]["examples"] == [minute(30)]


def test_examples_are_the_first_and_no_more_than_wanted() -> None:
    rows = market()
    for row in range(100, 2_000, 100):
        level(rows, row, row + 1, 1.1)
    found = candle_quality(rows, max_examples=2)["spikes"]
    assert found["count"] == 19
    assert [move["timestamp_ms"] for move in found["examples"]] == [minute(100), minute(200)]
    assert candle_quality(rows, max_examples=0)["spikes"]["examples"] == []
    assert candle_quality(rows, max_examples=0)["spikes"]["largest"] == max(
        candle_quality(rows)["spikes"]["examples"], key=lambda move: abs(move["percent"])
    )


def test_the_window_is_the_day() -> None:
    """What is far on a calm day is near on a wild one."""
    rows = synthetic_candles(START, DAY, 1)
    wild = synthetic_candles(START + DAY * MINUTE, DAY, 1, annual_volatility=5.0)
    rows = np.concatenate([rows, wild])
    for row in (700, DAY + 700):
        level(rows, row, row + 1, 1.05)
    spikes = candle_quality(rows)["spikes"]
    assert [move["timestamp_ms"] for move in spikes["examples"]] == [minute(700)]


# --- degenerate input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [0, 1])
def test_no_candles_and_one_candle(minutes: int) -> None:
    found = candle_quality(market(1)[:minutes])
    assert counts(found) == {}
    assert found["rows"] == minutes


def test_constant_prices_are_frozen_and_nothing_else() -> None:
    rows = market(DAY)
    rows[:, OPEN : LOW + 1] = 100.0
    found = candle_quality(rows)
    assert counts(found) == {"frozen": 1}
    assert found["frozen"]["candles"] == DAY


def test_the_only_move_of_a_day_is_not_an_outlier() -> None:
    rows = market(DAY)
    rows[:, OPEN : LOW + 1] = 100.0
    level(rows, 700, DAY, 2.0)
    assert counts(candle_quality(rows)) == {"frozen": 2}


def test_a_market_that_moves_tick_by_tick_has_no_outliers() -> None:
    """Most minutes do not move at all: a plain MAD would be 0 and every tick infinitely far."""
    rows = market(DAY)
    steps = np.zeros(DAY)
    steps[::20] = 0.01
    close = 100 + np.cumsum(steps)
    rows[:, OPEN : LOW + 1] = close[:, None]
    assert counts(candle_quality(rows)) == {}


def test_every_row_invalid() -> None:
    rows = market(50)
    rows[:, CLOSE] = -1
    found = candle_quality(rows)
    assert counts(found) == {"invalid": 50}
    assert found["zero_volume"]["share"] == 0


@pytest.mark.parametrize("shape", [(3, 5), (6,)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        candle_quality(np.ones(shape))
    with pytest.raises(ValueError, match="max_examples is -1"):
        candle_quality(market(3), max_examples=-1)


# --- against a slow implementation -----------------------------------------------------------------------


def valid(row: list[float]) -> bool:
    moment, opened, close, high, low, volume = row
    return (
        all(math.isfinite(value) for value in row)
        and moment % MINUTE == 0
        and abs(moment) <= 2**53
        and min(opened, close, high, low) > 0
        and low <= min(opened, close)
        and max(opened, close) <= high
        and volume >= 0
    )


def slow(candles: CandleArray) -> dict[str, Any]:
    """Row by row, with the words of the docstring of ``candle_quality`` and none of its code."""
    good = [row for row in candles.tolist() if valid(row)]
    seen: dict[float, list[float]] = {}
    duplicates = out_of_order = 0
    highest = -math.inf
    for row in good:
        duplicates += row[0] in seen
        out_of_order += row[0] < highest
        highest = max(highest, row[0])
        seen[row[0]] = row
    rows = [seen[moment] for moment in sorted(seen)]
    sizes: dict[float, list[float]] = {}
    returns: dict[float, float] = {}
    for before, row in itertools.pairwise(rows):
        if row[0] - before[0] == MINUTE:
            returns[row[0]] = math.log(row[2]) - math.log(before[2])
            if returns[row[0]]:
                sizes.setdefault(row[0] // 86_400_000, []).append(abs(returns[row[0]]))
    medians = {day: statistics.median(found) for day, found in sizes.items()}

    def score(moment: float, move: float) -> float:
        median = medians.get(moment // 86_400_000)
        return 0 if median is None else 0.6745 * abs(move) / median

    outliers = [moment for moment, move in returns.items() if score(moment, move) > OUTLIER_SCORE]
    spikes: list[float] = []
    for moment in outliers:
        back = returns.get(moment + MINUTE)
        if back is None or abs(returns[moment] + back) > 0.2 * abs(returns[moment]) * (1 + 1e-12):
            continue
        if moment - MINUTE not in spikes:
            spikes.append(moment)
    return {
        "invalid": len(candles) - len(good),
        "duplicates": duplicates,
        "out_of_order": out_of_order,
        "outliers": outliers,
        "spikes": spikes,
        "wicks": [
            row[0]
            for row in rows
            if score(
                row[0],
                max(math.log(row[3]) - math.log(max(row[1:3])), math.log(min(row[1:3])) - math.log(row[4])),
            )
            > OUTLIER_SCORE
        ],
        "gaps": sum(row[0] - before[0] != MINUTE for before, row in itertools.pairwise(rows)),
        "jumps": slow_jumps(rows, medians),
        "frozen": slow_frozen(rows),
        "zero": slow_zero(rows),
    }


def slow_jumps(rows: list[list[float]], medians: dict[float, float]) -> list[float]:
    jumps = []
    for before, row in itertools.pairwise(rows):
        length = (row[0] - before[0]) / MINUTE
        known = [medians[m // 86_400_000] for m in (before[0], row[0]) if m // 86_400_000 in medians]
        move = abs(math.log(row[1]) - math.log(before[2]))
        if length != 1 and known and 0.6745 * move / (max(known) * math.sqrt(length)) > JUMP_SCORE:
            jumps.append(row[0])
    return jumps


def slow_frozen(rows: list[list[float]]) -> list[tuple[float, int, bool]]:
    runs: list[list[list[float]]] = []
    for row in rows:
        last = runs[-1][-1] if runs else None
        if last is not None and row[0] - last[0] == MINUTE and row[1:5] == last[1:5]:
            runs[-1].append(row)
        else:
            runs.append([row])
    return [
        (run[0][0], len(run), any(row[5] > 0 for row in run)) for run in runs if len(run) >= FROZEN_CANDLES
    ]


def slow_zero(rows: list[list[float]]) -> tuple[int, int]:
    longest = current = 0
    last = None
    for row in rows:
        joined = last is not None and row[0] - last == MINUTE
        current = (current if joined else 0) + 1 if row[5] == 0 else 0
        longest = max(longest, current)
        last = row[0]
    return sum(row[5] == 0 for row in rows), longest


@st.composite
def damaged_markets(draw: st.DrawFn) -> CandleArray:
    """A market with a random selection of everything that can be wrong with it."""
    rows = market(draw(st.integers(1, 4_000)), draw(st.integers(0, 20)))
    size = len(rows)
    where = st.integers(0, size - 1)
    for row in draw(st.lists(where, max_size=4)):
        level(rows, row, draw(st.sampled_from([row + 1, row + 2, size])), draw(st.floats(0.5, 2.0)))
    for row in draw(st.lists(where, max_size=3)):
        end = row + draw(st.integers(1, 90))
        rows[row:end, OPEN : LOW + 1] = rows[row, CLOSE]
        rows[row:end, VOLUME] = draw(st.sampled_from([0.0, 1.0]))
    for row in draw(st.lists(where, max_size=3)):
        rows[row, draw(st.integers(0, 5))] *= draw(st.sampled_from([0.0, -1.0, 0.5, 2.0, math.nan]))
    for row in draw(st.lists(where, max_size=3)):
        rows = np.delete(rows, slice(row, row + draw(st.integers(1, 200))), axis=0)
    if len(rows) and draw(st.booleans()):
        rows = np.concatenate([rows, rows[draw(st.integers(0, len(rows) - 1)) :][:5]])
    return rows


def agrees(rows: CandleArray) -> None:
    found, expected = candle_quality(rows, max_examples=10**6), slow(rows)
    for name in ("invalid", "duplicates", "out_of_order"):
        assert found[name]["count"] == expected[name], name
    for name in ("outliers", "spikes", "wicks", "jumps"):
        moments = [move["timestamp_ms"] for move in found[name]["examples"]]  # type: ignore[literal-required]
        assert moments == expected[name], name
        sizes = [abs(move["percent"]) for move in found[name]["examples"]]  # type: ignore[literal-required]
        largest = found[name]["examples"][sizes.index(max(sizes))] if sizes else None  # type: ignore[literal-required]
        assert found[name]["largest"] == largest, name  # type: ignore[literal-required]
    assert found["gaps"] == expected["gaps"]
    frozen = [(run["start_ms"], run["minutes"], run["traded"]) for run in found["frozen"]["examples"]]
    assert frozen == expected["frozen"]
    assert found["frozen"]["candles"] == sum(length for _, length, _ in frozen)
    assert (found["zero_volume"]["count"], found["zero_volume"]["longest"]) == expected["zero"]


@given(rows=damaged_markets())
@settings(deadline=None, max_examples=60)
def test_agrees_with_a_slow_implementation(rows: CandleArray) -> None:
    agrees(rows)


values = st.one_of(st.sampled_from([0.0, 1.0, 2.0, START, START + MINUTE, -1.0, 1e300]), st.floats())
arrays = hnp.arrays(np.float64, st.tuples(st.integers(0, 30), st.just(6)), elements=values)


class Holder(Value):
    found: dict[str, Any]


@given(rows=arrays)
@example(
    rows=np.array([[START, 1e-300, 1e-300, 1e300, 1e-300, 0], [START + MINUTE, 1e300, 1e300, 1e300, 1, 0]])
)
@settings(deadline=None)
def test_anything_can_be_looked_at(rows: CandleArray) -> None:
    before = rows.copy()
    found = candle_quality(rows)
    np.testing.assert_array_equal(rows, before)
    agrees(rows)
    Holder.model_validate({"found": dict(found)}).model_dump_json()


@given(seed=st.integers(0, 50), shift=st.integers(-5, 5), factor=st.floats(1e-6, 1e6))
@settings(deadline=None, max_examples=25)
def test_neither_the_unit_nor_the_day_matters(seed: int, shift: int, factor: float) -> None:
    rows = market(2 * DAY, seed)
    level(rows, 300, 301, 1.2)
    rows[50:90, OPEN : LOW + 1] = rows[50, CLOSE]
    elsewhere = rows.copy()
    elsewhere[:, TIMESTAMP] += shift * 86_400_000
    elsewhere[:, OPEN : LOW + 1] *= 2.0 ** round(math.log2(factor))  # exact, so that equal stays equal
    assert counts(candle_quality(elsewhere)) == counts(candle_quality(rows))
    assert counts(candle_quality(rows))["spikes"] == 1
