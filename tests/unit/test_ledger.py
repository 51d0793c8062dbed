"""Every experiment is counted once."""

import math
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import update

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.ledger import SqlTrialLedger
from jesse_mcp.adapters.storage.tables import trials
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.identity import new_id
from jesse_mcp.domain.ledger import Trial, family_of


@pytest.fixture
def ledger(records: Database) -> SqlTrialLedger:
    return SqlTrialLedger(records)


def trial(fingerprint: str, **changes: Any) -> Trial:
    values: dict[str, Any] = {
        "trial_id": new_id("trial"),
        "created_at": "2026-01-01T00:00:00.000Z",
        "family": "Trend",
        "code_hash": "c0de",
        "start_ms": 0,
        "end_ms": 86_400_000,
        "fingerprint": fingerprint,
    }
    return Trial(**values | changes)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    returns=st.none() | st.lists(st.floats(allow_nan=False, allow_infinity=False)).map(tuple),
    # SQLite has no negative zero.
    sharpe=st.none() | st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),
    parameters=st.dictionaries(st.text(), st.integers() | st.booleans() | st.floats() | st.text()),
)
def test_any_trial_comes_back_exactly(
    ledger: SqlTrialLedger,
    returns: tuple[float, ...] | None,
    sharpe: float | None,
    parameters: dict[str, Any],
) -> None:
    entry = trial(new_id("print"), daily_returns=returns, sharpe=sharpe, parameters=parameters)
    assert ledger.record(entry)
    (found,) = ledger.entries(limit=1)
    assert repr(found) == repr(entry)


def test_no_returns_and_an_empty_series_are_different_things(ledger: SqlTrialLedger) -> None:
    ledger.record(trial("none"))
    ledger.record(trial("empty", daily_returns=()))
    assert [entry.daily_returns for entry in ledger.entries()] == [(), None]


def test_the_same_experiment_counts_once_and_its_first_entry_stands(ledger: SqlTrialLedger) -> None:
    assert ledger.record(trial("same", sharpe=1.0))
    assert not ledger.record(trial("same", sharpe=2.0, family="Other"))
    assert ledger.count() == 1
    assert [entry.sharpe for entry in ledger.entries("Trend")] == [1.0]


def test_two_threads_recording_the_same_experiments_count_each_once(ledger: SqlTrialLedger) -> None:
    added: list[bool] = []

    def record_all() -> None:
        added.extend(ledger.record(trial(f"print {number}")) for number in range(20))

    threads = [threading.Thread(target=record_all) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(added) == [False] * 20 + [True] * 20
    assert ledger.count("Trend") == 20


def test_families_are_counted_with_those_that_share_a_strategy_and_paged(ledger: SqlTrialLedger) -> None:
    for number in range(7):
        ledger.record(trial(f"a{number}", family="A"))
    ledger.record(trial("b", family="A+B"))
    assert (ledger.count("A"), ledger.count("A+B"), ledger.count("B"), ledger.count()) == (8, 8, 1, 8)
    ledger.record(trial("c", family="C"))
    assert ledger.count("C") == 1
    pages = [ledger.entries("A", limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [[entry.fingerprint for entry in page] for page in pages] == [
        ["b", "a6", "a5"],
        ["a4", "a3", "a2"],
        ["a1", "a0"],
        [],
    ]


def test_a_failed_attempt_is_completed_by_the_run_that_succeeds_and_counted_once(
    ledger: SqlTrialLedger,
) -> None:
    assert ledger.record(trial("same", trial_id="first", created_at="2026-01-01T00:00:00.000Z"))
    found = {"run_id": "run_1", "sharpe": 1.5, "daily_returns": (0.1, -0.2), "parameters": {"every": 6}}
    assert not ledger.record(trial("same", **found, created_at="2026-01-02T00:00:00.000Z"))
    assert not ledger.record(trial("same", run_id="run_2", sharpe=9.0, daily_returns=(0.9,)))
    assert not ledger.record(trial("same"))
    (entry,) = ledger.entries("Trend")
    assert {name: getattr(entry, name) for name in found} == found
    assert (entry.trial_id, entry.created_at) == ("first", "2026-01-01T00:00:00.000Z")
    assert ledger.count() == 1


def test_the_same_code_under_another_name_counts_to_the_family(ledger: SqlTrialLedger) -> None:
    for number in range(4):
        ledger.record(trial(f"a{number}", family="A", code_shape="one"))
    ledger.record(trial("a4", family="A", code_shape="two"))
    ledger.record(trial("b", family="B", code_shape="two"))
    ledger.record(trial("c", family="C", code_shape="three"))
    ledger.record(trial("d", family="D"))
    assert [ledger.count(family) for family in "ABCDE"] == [6, 6, 1, 1, 0]
    assert ledger.lineage("B") == {"A", "B"}
    assert [entry.fingerprint for entry in ledger.entries("B", limit=2)] == ["b", "a4"]
    # Code of both ties their lines together.
    ledger.record(trial("b2", family="B", code_shape="three"))
    assert ledger.lineage("C") == {"A", "B", "C"}
    assert ledger.count("C") == 8


def test_a_route_that_does_nothing_does_not_start_anew(ledger: SqlTrialLedger) -> None:
    for number in range(58):
        ledger.record(trial(f"a{number}", family="CoinA", code_shape="one", strategy_shapes={"CoinA": "one"}))
    both = {"CoinA": "one", "Nothing": "zero"}
    ledger.record(trial("both", family="CoinA+Nothing", code_shape="all", strategy_shapes=both))
    assert ledger.count("CoinA+Nothing") == ledger.count("CoinA") == 59
    # Nor under other names.
    copies = {"CoinB": "one", "Filler": "zero"}
    ledger.record(trial("copies", family="CoinB+Filler", code_shape="all", strategy_shapes=copies))
    assert ledger.count("CoinB+Filler") == ledger.count("CoinA") == 60
    assert [entry.strategy_shapes for entry in ledger.entries("Filler", limit=2)] == [copies, both]


def test_a_strategy_routed_beside_many_makes_no_line_of_them(ledger: SqlTrialLedger) -> None:
    for name in "ABC":
        ledger.record(trial(name, family=name, strategy_shapes={name: name}))
        together = {name: name, "Hedge": "hedge"}
        ledger.record(trial(f"{name} hedged", family=f"{name}+Hedge", strategy_shapes=together))
    assert ledger.lineage("A") == {"A", "A+Hedge"}
    assert ledger.lineage("A+Hedge") == {"A", "A+Hedge", "B+Hedge", "C+Hedge"}
    assert ledger.lineage("Hedge") == {"Hedge", "A+Hedge", "B+Hedge", "C+Hedge"}


def test_a_shape_is_learnt_when_an_old_trial_is_met_again(ledger: SqlTrialLedger) -> None:
    ledger.record(trial("old", family="A"))
    ledger.record(trial("new", family="B", code_shape="one"))
    assert ledger.count("B") == 1
    ledger.record(trial("old", family="A", code_shape="one"))
    assert ledger.count("B") == 2


def test_a_family_does_not_depend_on_the_order_of_routes() -> None:
    assert family_of(["Trend", "Revert", "Trend"]) == family_of(("Revert", "Trend")) == "Revert+Trend"


def test_a_sharpe_that_is_no_number_must_be_null() -> None:
    with pytest.raises(ValidationError):
        trial("x", sharpe=math.nan)


def test_a_damaged_series_says_so(records: Database, ledger: SqlTrialLedger) -> None:
    ledger.record(trial("x", daily_returns=(0.1,)))
    with records.writing() as connection:
        connection.execute(update(trials).values(daily_returns=b"\x78\x9c"))
    with pytest.raises(ResearchError, match="cannot be decoded") as caught:
        ledger.entries()
    assert caught.value.code is ErrorCode.STORAGE_FAILED
