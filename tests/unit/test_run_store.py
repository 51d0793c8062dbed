"""Runs come back as they were stored, bit for bit, and are found again."""

import math
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.runs import SqlRunStore
from jesse_mcp.adapters.storage.tables import runs
from jesse_mcp.domain.backtests import EngineOutcome, EquityPoint, Trade
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.identity import new_id
from jesse_mcp.domain.runs import RunRecord

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=4)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)

TRADES = st.builds(
    Trade,
    strategy=TEXT,
    exchange=TEXT,
    symbol=TEXT,
    type=st.sampled_from(["long", "short"]),
    opened_at=st.integers(),
    closed_at=st.integers(),
    **dict.fromkeys(
        ("entry_price", "exit_price", "qty", "size", "fee", "pnl", "holding_period"),
        FLOAT,
    ),
    pnl_percentage=st.none() | FLOAT,
    orders=st.lists(OBJECT, max_size=2).map(tuple),
)
OUTCOMES = st.builds(
    EngineOutcome,
    metrics=st.dictionaries(TEXT, st.none() | FLOAT | st.integers() | TEXT, max_size=5),
    undefined=st.dictionaries(TEXT, TEXT, max_size=2),
    trades=st.lists(TRADES, max_size=3).map(tuple),
    equity=st.lists(st.builds(EquityPoint, timestamp=st.integers(), balance=FLOAT), max_size=4).map(tuple),
    equity_missing_reason=st.none() | TEXT,
    hyperparameters=st.dictionaries(TEXT, st.booleans() | st.integers() | FLOAT | TEXT, max_size=4),
    engine=st.dictionaries(TEXT, TEXT, max_size=2),
    log_tail=TEXT,
    timings=st.dictionaries(TEXT, FLOAT, max_size=2),
)
RECORDS = st.builds(
    RunRecord,
    run_id=st.builds(new_id, st.just("run")),
    kind=st.sampled_from(["backtest", "batch", "trial"]),
    created_at=st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    fingerprint=TEXT,
    strategies=TEXTS,
    symbols=TEXTS,
    title=st.none() | TEXT,
    request=OBJECT,
    code_hash=TEXT,
    candle_hashes=st.dictionaries(TEXT, TEXT, max_size=2),
    outcome=OUTCOMES,
    benchmark=st.none() | OBJECT,
    warnings=TEXTS,
)


@pytest.fixture
def store(records: Database) -> SqlRunStore:
    return SqlRunStore(records)


def record(run_id: str = "run_a", **changes: Any) -> RunRecord:
    outcome = EngineOutcome(
        metrics={"net_profit": 0.1 + 0.2},
        undefined={},
        trades=(),
        equity=(),
        hyperparameters={},
        engine={"jesse": "3.5"},
    )
    values: dict[str, Any] = {
        "run_id": run_id,
        "kind": "backtest",
        "created_at": "2026-01-01T00:00:00.000Z",
        "fingerprint": f"print of {run_id}",
        "strategies": ("Trend",),
        "symbols": ("BTC-USDT",),
        "title": None,
        "request": {"start": "2024-01-01"},
        "code_hash": "c0de",
        "candle_hashes": {"BTC-USDT": "abc"},
        "outcome": outcome,
    }
    return RunRecord(**values | changes)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run=RECORDS)
def test_any_run_comes_back_exactly(store: SqlRunStore, run: RunRecord) -> None:
    store.add(run)
    # repr tells 1 from 1.0 from True, 0.0 from -0.0, and NaN equals itself.
    assert repr(store.get(run.run_id)) == repr(run)


def test_a_nan_in_a_free_form_field_is_not_turned_to_null(store: SqlRunStore) -> None:
    store.add(record(request={"fee": math.nan, "limits": [math.inf, -math.inf, -0.0, 5e-324]}))
    assert repr(store.get("run_a").request) == "{'fee': nan, 'limits': [inf, -inf, -0.0, 5e-324]}"


def test_text_that_json_cannot_hold_is_refused_and_nothing_is_stored(store: SqlRunStore) -> None:
    with pytest.raises(ResearchError, match="run_a") as caught:
        store.add(record(title="half a pair: \ud800"))
    assert caught.value.code is ErrorCode.STORAGE_FAILED
    assert store.page() == ([], 0)


def test_an_unknown_run_names_the_id_and_the_next_call(store: SqlRunStore) -> None:
    with pytest.raises(ResearchError, match="run_nope") as caught:
        store.get("run_nope")
    assert caught.value.code is ErrorCode.RUN_NOT_FOUND
    assert "run_list" in str(caught.value.hint)


def test_a_run_is_never_replaced(store: SqlRunStore) -> None:
    store.add(record(title="first"))
    with pytest.raises(ResearchError, match="stored already") as caught:
        store.add(record(title="second"))
    assert caught.value.code is ErrorCode.STORAGE_FAILED
    assert store.get("run_a").title == "first"


def test_of_many_that_store_one_run_exactly_one_does(store: SqlRunStore) -> None:
    barrier = threading.Barrier(4)
    kept: list[str] = []
    refused: list[ErrorCode] = []

    def add(title: str) -> None:
        barrier.wait()
        try:
            store.add(record(title=title))
            kept.append(title)
        except ResearchError as error:
            refused.append(error.code)

    threads = [threading.Thread(target=add, args=(title,)) for title in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == [store.get("run_a").title]
    assert refused == [ErrorCode.STORAGE_FAILED] * 3


def test_find_gives_the_latest_run_of_an_experiment(store: SqlRunStore) -> None:
    assert store.find("same") is None
    store.add(record("run_late", fingerprint="same", created_at="2026-01-02T00:00:00.000Z"))
    store.add(record("run_early", fingerprint="same", created_at="2026-01-01T00:00:00.000Z"))
    found = store.find("same")
    assert found is not None
    assert found.run_id == "run_late"


def test_a_listing_has_the_headline_of_each_run(store: SqlRunStore) -> None:
    store.add(record(title="mine", strategies=("A", "B", "A"), symbols=("ETH-USDT",)))
    (line,), total = store.page()
    assert total == 1
    assert (line.run_id, line.kind, line.title) == ("run_a", "backtest", "mine")
    assert (line.strategies, line.symbols) == (("A", "B", "A"), ("ETH-USDT",))
    assert line.metrics == {"net_profit": 0.1 + 0.2}
    assert line.request == {"start": "2024-01-01"}


def test_filters_combine(store: SqlRunStore) -> None:
    store.add(record("run_1", strategies=("A", "B"), symbols=("BTC-USDT", "ETH-USDT")))
    store.add(record("run_2", strategies=("A",), symbols=("ETH-USDT",), kind="batch"))
    store.add(record("run_3", strategies=("C",), symbols=("BTC-USDT",)))

    def ids(**filters: str) -> list[str]:
        lines, total = store.page(
            strategy=filters.get("strategy"), symbol=filters.get("symbol"), kind=filters.get("kind")
        )
        assert total == len(lines)
        return [line.run_id for line in lines]

    assert ids() == ["run_3", "run_2", "run_1"]
    assert ids(strategy="A") == ["run_2", "run_1"]
    assert ids(strategy="A", symbol="BTC-USDT") == ["run_1"]
    assert ids(symbol="ETH-USDT", kind="batch") == ["run_2"]
    # A symbol is no strategy, and a filter is compared whole.
    assert ids(strategy="ETH-USDT") == []
    assert ids(symbol="ETH") == []
    assert ids(strategy="") == []


def test_pages_do_not_overlap_when_every_run_has_the_same_time(store: SqlRunStore) -> None:
    names = [f"run_{number:02d}" for number in range(23)]
    for name in names:
        store.add(record(name))
    seen: list[str] = []
    for offset in range(0, 25, 5):
        lines, total = store.page(limit=5, offset=offset)
        assert total == 23
        seen += [line.run_id for line in lines]
    assert seen == names[::-1]
    assert store.count() == 23


def test_a_damaged_record_says_so(records: Database, store: SqlRunStore) -> None:
    store.add(record())
    with records.writing() as connection:
        connection.execute(update(runs).values(record=b"\0"))
    with pytest.raises(ResearchError, match="cannot be decoded") as caught:
        store.get("run_a")
    assert caught.value.code is ErrorCode.STORAGE_FAILED
    assert store.page()[1] == 1, "the others stay listed"


def test_a_failure_is_known_to_those_that_began_before_it(store: SqlRunStore) -> None:
    first = ResearchError(ErrorCode.STRATEGY_RAISED, "once", "look at line 3", {"file": Path("x.py")})
    store.add_failure("print", "2026-01-01T00:00:01.000Z", first)
    store.add_failure("print", "2026-01-01T00:00:03.000Z", ResearchError(ErrorCode.STRATEGY_RAISED, "twice"))
    store.add_failure("other", "2026-01-01T00:00:09.000Z", first)
    found = store.find_failure("print", "2026-01-01T00:00:00.000Z")
    assert found is not None
    assert found.message == "twice"
    assert store.find_failure("print", "2026-01-01T00:00:03.000Z") is not None
    assert store.find_failure("print", "2026-01-01T00:00:03.001Z") is None
    assert store.find_failure("none", "2026-01-01T00:00:00.000Z") is None
    other = store.find_failure("other", "2026-01-01T00:00:00.000Z")
    assert other is not None
    assert other.to_dict() == {**first.to_dict(), "details": {"file": "x.py"}}
