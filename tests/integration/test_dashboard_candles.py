"""The candles of a real Jesse: copies that say what its database has, and when they are read anew."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from jesse_host import PASSWORD, JesseHost
from jesse_mcp.adapters.dashboard.candle_export import EXPORT
from jesse_mcp.adapters.dashboard.candle_upload import upload_candles
from jesse_mcp.adapters.dashboard.candles import DashboardCandleStore, open_mirror
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CandleArray, SeriesKey, SeriesSpan, SeriesSummary
from jesse_mcp.domain.errors import ErrorCode, ResearchError

START = 1_704_067_200_000
MINUTE = 60_000
DAY = 1440 * MINUTE
SPOT = "Binance Spot"


class CountingClient(DashboardClient):
    """The client, with a record of what was asked."""

    def __init__(self, host: JesseHost) -> None:
        super().__init__(host.url, Credentials(password=SecretStr(PASSWORD)))
        self.asked: list[str] = []
        self.reading = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def call(self, method: str, path: str, *, safe: bool, **parts: Any) -> dict[str, Any]:
        self.asked.append(path)
        if path == EXPORT:
            self.reading.set()
            assert self.go_on.wait(60)
        return super().call(method, path, safe=safe, **parts)

    @property
    def exports(self) -> int:
        return self.asked.count(EXPORT)


class Clock:
    """A millisecond passes whenever it is looked at."""

    def __init__(self, step: float = 0.001) -> None:
        self.time = 1_000_000.0
        self._step = step

    def __call__(self) -> float:
        self.time += self._step
        return self.time


class Side:
    """One process's view: a client, a copy and a clock."""

    def __init__(self, host: JesseHost, folder: Path) -> None:
        self.client = CountingClient(host)
        self.mirror = open_mirror(folder, self.client.url)
        self.clock = Clock()
        self.store = DashboardCandleStore(self.client, self.mirror, now=self.clock)


@pytest.fixture
def side(jesse_host: JesseHost, tmp_path: Path) -> Iterator[Side]:
    made = Side(jesse_host, tmp_path)
    yield made
    made.client.close()


def three_days(seed: int = 1) -> CandleArray:
    return synthetic_candles(START, 3 * 1440, seed)


@pytest.fixture
def series(side: Side, request: pytest.FixtureRequest) -> Iterator[SeriesKey]:
    """Three days in Jesse, under a symbol that no other test uses."""
    key = SeriesKey(exchange=SPOT, symbol=symbol_of(request))
    upload_candles(side.client, key, three_days())
    yield key
    with_suppressed_absence(side.store, key)


def symbol_of(request: pytest.FixtureRequest) -> str:
    letters = "".join(c for c in request.node.name.upper() if c.isalnum())
    return f"{letters[4:24]}-USDT"


def with_suppressed_absence(store: DashboardCandleStore, key: SeriesKey) -> None:
    try:
        store.delete(key)
    except ResearchError as error:
        if error.code is not ErrorCode.SERIES_NOT_FOUND:
            raise


def in_database(host: JesseHost, command: str, key: SeriesKey) -> str:
    """Run a command in which ``{symbol}`` and ``{exchange}`` stand for those of ``key``."""
    return host.sql("\\c jesse_db\n" + command.format(**key.model_dump(), start=START, day_2=START + DAY))


def of(store: DashboardCandleStore, key: SeriesKey) -> SeriesSummary | SeriesSpan:
    (found,) = [one for one in store.summaries() if one.symbol == key.symbol]
    return found


def test_candles_come_back_to_the_precision_of_the_database(side: Side, series: SeriesKey) -> None:
    rows = side.store.read(series)
    np.testing.assert_array_equal(rows[:, 0], three_days()[:, 0])
    np.testing.assert_array_equal(rows.astype(np.float32), three_days().astype(np.float32))
    # The shortest decimals that mean these float4: what Jesse's own runs compute with.
    as_text = [[float(str(np.float32(value))) for value in row] for row in rows[:200, 1:]]
    np.testing.assert_array_equal(rows[:200, 1:], as_text)


def test_a_part_of_a_series(side: Side, series: SeriesKey) -> None:
    rows = side.store.read(series, START + DAY, START + 2 * DAY)
    np.testing.assert_array_equal(rows[:, 0], three_days()[1440:2880, 0])
    coverage = side.store.coverage(series, START - DAY, START + DAY)
    assert (coverage.present, coverage.missing_by_kind) == (1440, {"not_asked": 1440})
    assert side.store.unanswered(series, START - DAY, START + DAY) == [(START - DAY, START)]


def test_a_listing_tells_days_until_the_candles_are_counted(side: Side, series: SeriesKey) -> None:
    before = of(side.store, series)
    assert isinstance(before, SeriesSpan)
    assert (before.first, before.last) == ("2024-01-01", "2024-01-03")
    assert "named" in before.unread or "name" in before.unread
    assert side.client.exports == 0
    counted = side.store.summary(series)
    assert counted is not None
    assert (counted.rows, counted.missing, counted.first) == (4320, 0, "2024-01-01T00:00Z")
    assert counted.source == f"Jesse at {side.client.url}"
    assert of(side.store, series) == counted
    side.clock.time += 3600
    assert isinstance(of(side.store, series), SeriesSpan), "an old count is not shown as the present one"
    assert side.client.exports == 1


def test_a_series_that_jesse_lacks(side: Side) -> None:
    key = SeriesKey(exchange=SPOT, symbol="NOWHERE-USDT")
    assert side.store.summary(key) is None
    assert side.store.read(key).shape == (0, 6)
    with pytest.raises(ResearchError) as caught:
        side.store.mapped(key)
    assert caught.value.code is ErrorCode.SERIES_NOT_FOUND


def test_a_copy_is_believed_for_a_minute(side: Side, series: SeriesKey, jesse_host: JesseHost) -> None:
    hashes = [side.store.mapped(series).content_hash]
    in_database(jesse_host, "update candle set volume = volume + 1 where symbol = '{symbol}'", series)
    side.clock.time += 59
    hashes.append(side.store.mapped(series).content_hash)
    assert side.client.exports == 1
    side.clock.time += 2
    hashes.append(side.store.mapped(series).content_hash)
    assert side.client.exports == 2
    assert hashes[0] == hashes[1] != hashes[2]


def test_slow_readings_are_believed_longer(side: Side, series: SeriesKey) -> None:
    clock = Clock(step=10)
    store = DashboardCandleStore(side.client, side.mirror, now=clock)
    store.read(series)
    clock.time += 150
    store.read(series)
    assert side.client.exports == 1
    clock.time += 250
    store.read(series)
    assert side.client.exports == 2


def test_what_jesse_remembers_of_changed_candles_is_cleared(
    side: Side, series: SeriesKey, jesse_host: JesseHost
) -> None:
    side.store.read(series)
    cleared = side.client.asked.count("/candles/clear-cache")
    side.clock.time += 100
    side.store.read(series)
    assert side.client.asked.count("/candles/clear-cache") == cleared, "nothing has changed"
    in_database(jesse_host, "delete from candle where symbol = '{symbol}' and timestamp = {start}", series)
    side.clock.time += 100
    assert len(side.store.read(series)) == 4319
    assert side.client.asked.count("/candles/clear-cache") == cleared + 1


def test_other_days_in_a_listing_have_the_series_read_again(
    side: Side, series: SeriesKey, jesse_host: JesseHost
) -> None:
    assert len(side.store.read(series)) == 4320
    in_database(jesse_host, "delete from candle where symbol = '{symbol}' and timestamp < {day_2}", series)
    assert isinstance(of(side.store, series), SeriesSpan)
    assert len(side.store.read(series)) == 2880


def test_a_deleted_series_is_gone_from_the_copy(side: Side, series: SeriesKey) -> None:
    assert side.store.summary(series) is not None
    assert side.store.delete(series) == 4320
    assert side.store.summary(series) is None
    assert side.mirror.summaries() == []
    with pytest.raises(ResearchError) as caught:
        side.store.delete(series)
    assert caught.value.code is ErrorCode.SERIES_NOT_FOUND


def test_a_range_cannot_be_deleted(side: Side, series: SeriesKey) -> None:
    with pytest.raises(ResearchError) as caught:
        side.store.delete(series, START, START + DAY)
    assert caught.value.code is ErrorCode.CAPABILITY_MISSING
    assert caught.value.hint is not None
    assert len(side.store.read(series)) == 4320


def test_files_become_new_series_only(side: Side, request: pytest.FixtureRequest) -> None:
    key = SeriesKey(exchange="Binance Perpetual Futures", symbol=symbol_of(request))
    assert side.store.summary(key) is None
    report = side.store.write(key, three_days(), "file x.csv")
    assert (report.added, report.replaced, report.unchanged) == (4320, 0, 0)
    assert len(side.store.read(key)) == 4320, "the absence known a moment ago is forgotten"
    with pytest.raises(ResearchError, match="already") as caught:
        side.store.write(key, three_days(2), "file y.csv")
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    np.testing.assert_array_equal(side.store.read(key).astype("f4"), three_days().astype("f4"))
    side.store.delete(key)


def test_pages_are_no_business_of_jesse(side: Side, series: SeriesKey) -> None:
    with pytest.raises(ResearchError) as caught:
        side.store.append(series, three_days(), "x", (START, START + DAY))
    assert caught.value.code is ErrorCode.CAPABILITY_MISSING


def test_answers_stay_known_until_candles_vanish(
    side: Side, series: SeriesKey, jesse_host: JesseHost
) -> None:
    side.store.note_answer(series, START - DAY, START + 3 * DAY)
    assert side.store.answered(series) == ((START - DAY, START + 3 * DAY),)
    assert side.store.coverage(series, START - DAY, START).missing_by_kind == {"before_listing": 1440}
    in_database(jesse_host, "update candle set volume = 7 where symbol = '{symbol}'", series)
    side.store.forget(series)
    assert side.store.answered(series) == ((START - DAY, START + 3 * DAY),)
    in_database(jesse_host, "delete from candle where symbol = '{symbol}' and timestamp = {start}", series)
    side.store.forget(series)
    assert side.store.answered(series) == ()


def test_a_reading_under_way_when_candles_change_is_not_believed(side: Side, series: SeriesKey) -> None:
    side.client.go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(side.store.read, series)
        assert side.client.reading.wait(60)
        side.clock.time += 1
        side.store.forget(series)
        side.clock.time += 1
        side.client.go_on.set()
        assert len(reading.result(60)) == 4320
    side.store.read(series)
    assert side.client.exports == 2


def test_a_damaged_copy_is_made_again(side: Side, series: SeriesKey) -> None:
    side.store.read(series)
    (file,) = side.mirror.root.rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:500])
    assert isinstance(of(side.store, series), SeriesSpan)
    side.store.read(series)
    file.write_bytes(file.read_bytes()[:500])
    side.clock.time += 1
    assert len(side.store.read(series)) == 4320
    assert side.client.exports == 3


def test_a_copy_that_cannot_be_kept_is_no_reason_to_delete_candles(
    side: Side, series: SeriesKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side.mirror, "read", lambda *_: _fail(series))
    with pytest.raises(ResearchError) as caught:
        side.store.read(series)
    assert caught.value.code is ErrorCode.STORAGE_FAILED
    assert "candles_delete" not in str(caught.value.hint)


def _fail(key: SeriesKey) -> None:
    raise ResearchError(ErrorCode.STORAGE_FAILED, f"{key} is damaged", "delete it with candles_delete")


def test_two_threads_of_two_servers_read_once(side: Side, series: SeriesKey) -> None:
    other = DashboardCandleStore(side.client, open_mirror(side.mirror.root.parent, side.client.url))
    mine = DashboardCandleStore(side.client, side.mirror)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda store: store.mapped(series), [mine, other] * 6))
    assert len({one.content_hash for one in found}) == 1
    assert side.client.exports == 1


_PROCESS = """
import json, sys
from pathlib import Path
from pydantic import SecretStr
from jesse_mcp.adapters.dashboard.candles import DashboardCandleStore, open_mirror
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.domain.candles import SeriesKey

url, password, folder, exchange, symbol = sys.argv[1:]
client = DashboardClient(url, Credentials(password=SecretStr(password)))
store = DashboardCandleStore(client, open_mirror(Path(folder), url), trusted_seconds=0, patience=0)
key = SeriesKey(exchange=exchange, symbol=symbol)
print(json.dumps([store.mapped(key).content_hash for _ in range(5)]))
client.close()
"""


def test_two_processes_share_a_copy(side: Side, series: SeriesKey, tmp_path: Path) -> None:
    """Both read from Jesse again and again, into the same files."""
    arguments = [side.client.url, PASSWORD, str(tmp_path), series.exchange, series.symbol]
    processes = [
        subprocess.Popen([sys.executable, "-c", _PROCESS, *arguments], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120)[0] for process in processes]
    hashes = {one for answer in answers for one in json.loads(answer)}
    assert hashes == {side.store.mapped(series).content_hash}


def test_a_database_that_dies_during_a_reading(engine_python: Path, tmp_path: Path) -> None:
    host = JesseHost(engine_python, tmp_path)
    try:
        side = Side(host, tmp_path / "copies")
        key = SeriesKey(exchange=SPOT, symbol="LONG-USDT")
        in_database(
            host,
            "insert into candle (id, timestamp, open, close, high, low, volume, exchange, symbol, timeframe)"
            " select gen_random_uuid(), {start} + 60000::bigint * i, 10, 11, 12, 9, i, '{exchange}',"
            " '{symbol}', '1m' from generate_series(0, 299999) i",
            key,
        )
        before = side.store.mapped(key)
        side.clock.time += 3600
        side.client.reading.clear()
        side.client.go_on.clear()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(side.store.read, key)
            assert side.client.reading.wait(60)
            host.kill_postgres()
            side.client.go_on.set()
            with pytest.raises(ResearchError) as caught:
                reading.result(60)
        assert caught.value.code is ErrorCode.JESSE_DATABASE
        assert "PostgreSQL" in str(caught.value.hint)
        kept = side.mirror.summary(key)
        assert kept is not None
        assert (kept.rows, kept.content_hash) == (300_000, before.content_hash)
        with pytest.raises(ResearchError) as again:
            side.store.read(key)
        assert again.value.code is ErrorCode.JESSE_DATABASE, "what is old is not shown instead"
        side.client.close()
    finally:
        host.close()
