"""Our candles into the database of a real Jesse."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from jesse_host import PASSWORD, JesseHost
from jesse_mcp.adapters.dashboard import candle_upload
from jesse_mcp.adapters.dashboard.candle_export import exported
from jesse_mcp.adapters.dashboard.candle_upload import (
    CUSTOM_DATA,
    delete_series,
    existing_series,
    is_staging,
    upload_candles,
)
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError

FIRST_MS = 1_672_531_200_000
ROWS = 2 * 1_440


@pytest.fixture
def client(jesse_host: JesseHost) -> Iterator[DashboardClient]:
    client = DashboardClient(jesse_host.url, Credentials(password=SecretStr(PASSWORD)))
    yield client
    client.close()


@pytest.fixture
def rows() -> CandleArray:
    return synthetic_candles(FIRST_MS, ROWS, seed=5, start_price=31.4159)


def in_jesse(client: DashboardClient, exchange: str) -> set[SeriesKey]:
    """Of one exchange: tests share the database."""
    return {key for key in existing_series(client) if key.exchange == exchange}


@pytest.mark.parametrize("exchange", ["Coinbase Spot", CUSTOM_DATA])
def test_a_new_series_holds_our_candles_as_float4(
    client: DashboardClient, rows: CandleArray, exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candle_upload, "ROWS_PER_FILE", 1_000)
    key = SeriesKey(exchange=exchange, symbol="UPNEW-USDT")
    heard: list[float] = []
    assert upload_candles(client, key, rows, heard.append) == ROWS
    stored = exported(client, key)
    np.testing.assert_array_equal(stored[:, 0], rows[:, 0])
    np.testing.assert_array_equal(stored[:, 1:].astype(np.float32), rows[:, 1:].astype(np.float32))
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert delete_series(client, key) == ROWS
    assert key not in existing_series(client)
    assert not [key for key in existing_series(client) if is_staging(key)]


def test_a_series_of_the_user_is_not_touched(client: DashboardClient, rows: CandleArray) -> None:
    key = SeriesKey(exchange="Bitfinex Spot", symbol="MINE-USDT")
    custom = SeriesKey(exchange=CUSTOM_DATA, symbol="MINE-USDT")
    upload_candles(client, custom, rows[:100])
    upload_candles(client, key, rows[100:300])
    before = exported(client, custom), exported(client, key)
    for taken in (key, custom):
        with pytest.raises(ResearchError) as caught:
            upload_candles(client, taken, rows)
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT
        assert str(taken) in caught.value.message
        assert CUSTOM_DATA in str(caught.value.hint)
    for kept, key_kept in zip(before, (custom, key), strict=True):
        np.testing.assert_array_equal(exported(client, key_kept), kept)


def test_a_series_made_meanwhile_is_not_touched(client: DashboardClient, rows: CandleArray) -> None:
    """Between our look and the end of the upload somebody else makes the same series."""
    key = SeriesKey(exchange="Bybit Spot", symbol="RACE-USDT")
    raced: list[int] = []

    def race(_fraction: float) -> None:
        if not raced:
            raced.append(upload_candles_of_the_other())

    def upload_candles_of_the_other() -> int:
        return upload_candles(client, key, rows[:50])

    with pytest.raises(ResearchError, match="already"):
        upload_candles(client, key, rows, race)
    assert raced == [50]
    assert len(exported(client, key)) == 50
    assert not [key for key in existing_series(client) if is_staging(key)]


def test_an_upload_that_is_ended_leaves_nothing(
    client: DashboardClient, rows: CandleArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candle_upload, "ROWS_PER_FILE", 1_000)
    key = SeriesKey(exchange="Gate Spot", symbol="ENDED-USDT")

    def enough(_fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload_candles(client, key, rows, enough)
    assert not [key for key in existing_series(client) if is_staging(key) or key.symbol == "ENDED-USDT"]


@pytest.mark.parametrize("what", ["price", "minute", "exchange", "empty"])
def test_what_jesse_does_not_take(client: DashboardClient, rows: CandleArray, what: str) -> None:
    key = SeriesKey(exchange="Moonbase Spot" if what == "exchange" else "Kraken Spot", symbol="BAD-USDT")
    if what == "price":
        rows[7, 1:5] = 0.0
    if what == "minute":
        rows[:, 0] += 1
    with pytest.raises(ResearchError) as caught:
        upload_candles(client, key, rows[:0] if what == "empty" else rows)
    wanted = ErrorCode.JESSE_REJECTED if what == "exchange" else ErrorCode.CANDLES_INVALID
    assert caught.value.code is wanted
    assert not [key for key in existing_series(client) if is_staging(key) or key.symbol == "BAD-USDT"]


def test_an_abandoned_upload_is_removed_by_the_next(client: DashboardClient, rows: CandleArray) -> None:
    old, young = "JESSEMCP.1600000000.0123ABCD-USDT", f"JESSEMCP.{2**33}.0123ABCD-USDT"
    of_the_user = "JESSEMCP.1600000000.AA-USDT"
    for symbol in (old, young, of_the_user):
        candle_upload._store(client, symbol, rows[:10])
    upload_candles(client, SeriesKey(exchange="Coinbase Spot", symbol="NEXT-USDT"), rows[:10])
    left = {key.symbol for key in existing_series(client) if key.exchange == CUSTOM_DATA}
    assert (old in left, young in left, of_the_user in left) == (False, True, True)
    assert not is_staging(SeriesKey(exchange=CUSTOM_DATA, symbol=of_the_user))
    for symbol in (young, of_the_user):
        delete_series(client, SeriesKey(exchange=CUSTOM_DATA, symbol=symbol))


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "of somebody else"])
def test_a_copy_that_breaks_off(
    client: DashboardClient, rows: CandleArray, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Jesse had copied is removed; candles that are not these are not."""
    key = SeriesKey(exchange="Binance US Spot", symbol=f"HALF{int(ours)}-USDT")
    post = client.post

    def breaking(path: str, body: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        if path != "/candles/copy":
            return post(path, body, patience)
        monkeypatch.undo()
        upload_candles(client, key, rows[:100] if ours else rows[1:100])
        raise ResearchError(ErrorCode.JESSE_UNREACHABLE, "broke")

    monkeypatch.setattr(client, "post", breaking)
    with pytest.raises(ResearchError, match="broke"):
        upload_candles(client, key, rows)
    assert (key in existing_series(client)) is not ours
    assert not [key for key in existing_series(client) if is_staging(key)]
