"""Candles as they arrive become minutes in order, complete or given up, whatever else comes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.ports.market_data import CandlePage
from jesse_mcp.services.paper_minutes import LATE_MS, MinuteBook, Taken

START = 1_704_067_200_000
MINUTE = 60_000
PATIENCE = 45_000
KEYS = (SeriesKey(exchange="E", symbol="A-USDT"), SeriesKey(exchange="E", symbol="B-USDT"))
CANDLES = synthetic_candles(START, 60, 1)


def at(minute: float) -> int:
    return int(START + minute * MINUTE)


def book(series: int = 2) -> MinuteBook:
    return MinuteBook(KEYS[:series], START, PATIENCE)


def page(rows: CandleArray, first: int = 0, end: int = 60) -> CandlePage:
    return CandlePage(at(first), at(end), rows)


def give(one: MinuteBook, place: int, minutes: list[int], first: int = 0, end: int | None = None) -> Taken:
    """The exchange answers for ``[first, end)``, by default up to its last candle."""
    stop = max(minutes, default=0) + 1 if end is None else end
    return one.take(place, page(CANDLES[minutes], first, stop), at(60))


def released(one: MinuteBook, now: float, *, answered: bool = True) -> tuple[list[int], list[str]]:
    found = one.release(at(int(now)), at(now), answered=answered, limit=1_440)
    return [(minute.timestamp - START) // MINUTE for minute in found.minutes], [n.kind for n in found.notes]


def test_a_minute_waits_for_every_series() -> None:
    one = book()
    give(one, 0, [0, 1, 2])
    assert released(one, 1.5) == ([], [])
    give(one, 1, [0, 1])
    assert released(one, 3) == ([0, 1], [])
    assert one.next_ms == at(2)
    assert (one.wanted_from(0), one.wanted_from(1)) == (at(3), at(2))


def test_a_minute_has_the_candles_of_its_series_in_jesses_order() -> None:
    one = book(1)
    give(one, 0, [0])
    (minute,) = one.release(at(1), at(1), answered=True, limit=1).minutes
    assert minute.rows == {0: tuple(CANDLES[0, 1:])}


def test_what_one_series_lacks_is_given_up_after_the_patience_and_not_before() -> None:
    one = book()
    give(one, 0, [0])
    assert released(one, 1 + 44.999 / 60) == ([], [])
    assert released(one, 1 + 45 / 60) == ([0], ["missing"])


def test_nothing_is_given_up_while_an_exchange_does_not_answer() -> None:
    one = book()
    give(one, 0, [0])
    assert released(one, 5, answered=False) == ([], [])
    give(one, 1, [0])
    assert released(one, 5, answered=False) == ([0], []), "what is complete goes on"


def test_an_exchange_without_news_is_waited_for() -> None:
    one = book(1)
    assert released(one, 9) == ([], []), "it may still fill these minutes"
    give(one, 0, [0, 1, 2])
    assert released(one, 9) == ([0, 1, 2], [])


def test_an_exchange_that_answered_for_a_minute_has_none() -> None:
    one = book(1)
    give(one, 0, [], 0, 3)
    assert released(one, 3.8) == ([], ["missing"])
    assert one.next_ms == at(3)


def test_a_gap_is_one_note_that_counts() -> None:
    one = book(1)
    give(one, 0, [0, 4, 5, 7])
    found = one.release(at(8), at(20), answered=True, limit=1_440)
    assert [(minute.timestamp - START) // MINUTE for minute in found.minutes] == [0, 4, 5, 7]
    assert [(note.kind, note.timestamp) for note in found.notes] == [("missing", at(1)), ("missing", at(6))]
    assert "3 minutes have no candle" in found.notes[0].message
    assert "A-USDT on E at 2024-01-01T00:06Z: it has no candle" in found.notes[1].message


def test_what_comes_after_it_was_given_up_is_kept_and_not_used() -> None:
    one = book()
    give(one, 0, [0, 1])
    give(one, 1, [1])
    assert released(one, 2.8) == ([0, 1], ["missing"])
    assert one.wanted_from(1) == at(0), "it is still asked for"
    taken = give(one, 1, [0, 1])
    assert [note.kind for note in taken.notes] == ["late"]
    np.testing.assert_array_equal(taken.candles, CANDLES[:1])
    assert released(one, 3) == ([], [])
    assert give(one, 1, [0]).notes == (), "it is told once"
    assert one.wanted_from(1) == at(2)


def test_a_minute_given_up_is_not_looked_for_forever() -> None:
    one = book()
    give(one, 0, [0])
    one.release(at(1), at(2), answered=True, limit=1_440)
    assert one.wanted_from(1) == at(0)
    one.release(at(1), at(1) + LATE_MS, answered=True, limit=1_440)
    assert one.wanted_from(1) == at(1)


def broken(column: int, value: float) -> CandleArray:
    rows = CANDLES[:1].copy()
    rows[0, column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (broken(0, float("nan")), "not a finite number"),
        (broken(2, float("inf")), "not a finite number"),
        (broken(0, START + 1), "not at the beginning of a minute"),
        (broken(0, START - MINUTE), "not of a minute that was asked for"),
        (broken(0, at(30)), "a minute that is not over"),
        (broken(3, 0.5), "prices that cannot be"),
        (broken(4, 1e9), "prices that cannot be"),
        (broken(4, 0.0), "prices that cannot be"),
        (broken(5, -1.0), "prices that cannot be"),
    ],
)
def test_what_is_no_candle_is_noted_and_not_used(rows: CandleArray, says: str) -> None:
    one = book(1)
    taken = one.take(0, page(np.vstack([rows, CANDLES[1:2]])), at(3))
    assert [note.kind for note in taken.notes] == ["invalid"]
    assert says in taken.notes[0].message
    np.testing.assert_array_equal(taken.candles, CANDLES[1:2])
    assert one.wanted_from(0) == at(0), "the minute is asked for again"
    give(one, 0, [0])
    assert released(one, 2) == ([0, 1], [])


def test_one_candle_twice_is_used_once() -> None:
    one = book(1)
    taken = give(one, 0, [0, 1, 1])
    assert [note.kind for note in taken.notes] == ["duplicate"]
    np.testing.assert_array_equal(taken.candles, CANDLES[:2])
    assert released(one, 2) == ([0, 1], [])


def test_two_candles_of_one_minute_are_none() -> None:
    one = book(1)
    taken = one.take(0, page(np.vstack([CANDLES[:1], broken(5, 1.0)]), 0, 1), at(3))
    assert [note.kind for note in taken.notes] == ["invalid"]
    assert not len(taken.candles)
    assert released(one, 1) == ([], [])


def test_a_candle_that_changes_keeps_its_first_values() -> None:
    one = book()
    give(one, 0, [0])
    assert give(one, 0, [0]).notes == (), "asked for twice is no news"
    taken = one.take(0, page(broken(5, 1.0), 0, 1), at(3))
    assert [note.kind for note in taken.notes] == ["duplicate"]
    assert not len(taken.candles)
    give(one, 1, [0])
    (minute,) = one.release(at(1), at(1), answered=True, limit=9).minutes
    assert minute.rows[0] == tuple(CANDLES[0, 1:])


def test_a_minute_that_was_given_is_not_given_again() -> None:
    one = book(1)
    give(one, 0, [0, 1])
    assert released(one, 2) == ([0, 1], [])
    assert give(one, 0, [0, 1, 2]).notes == ()
    assert released(one, 3) == ([2], [])


def test_no_more_than_the_limit_at_a_time() -> None:
    one = book(1)
    give(one, 0, list(range(9)))
    sizes = [len(one.release(at(9), at(9), answered=True, limit=4).minutes) for _ in range(4)]
    assert sizes == [4, 4, 1, 0]


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.lists(st.integers(0, 19), max_size=8), st.integers(0, 30)),
        max_size=12,
    )
)
def test_minutes_come_in_order_once_and_only_as_they_arrived(
    steps: list[tuple[int, list[int], int]],
) -> None:
    one = book()
    now = 0
    given: list[int] = []
    for place, minutes, later in steps:
        now += later
        one.take(place, page(CANDLES[sorted(minutes)], 0, 20), at(now))
        before = one.next_ms
        found = one.release(at(now), at(now), answered=True, limit=5)
        assert one.next_ms >= before
        assert all(before <= minute.timestamp < one.next_ms for minute in found.minutes)
        for minute in found.minutes:
            given.append((minute.timestamp - START) // MINUTE)
            for row in minute.rows.values():
                assert row == tuple(CANDLES[given[-1], 1:])
    assert given == sorted(set(given))
    assert all(at(minute + 1) <= at(now) for minute in given)
