"""The imitated exchanges, asked without Jesse."""

import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPResponse, HTTPSConnection, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest

from exchange_server import MINUTE_MS, Candles, ExchangeServer, faults, host_of
from exchange_server.recordings import compare
from exchange_server.samples import COUNT, END, SAMPLES, SECONDS, START, sample_of

SYMBOL = "BTC-USDT"
KLINES = {"symbol": "BTCUSDT", "interval": "1m"}
RECORDINGS = Path(__file__).parents[3] / "shared" / "data"


def candles(count: int = COUNT) -> Candles:
    """Random prices; every fifth minute nobody trades."""
    chance = np.random.default_rng(11)
    opened = chance.uniform(90, 110, count).round(2)
    closed = chance.uniform(90, 110, count).round(2)
    volume = np.where(np.arange(count) % 5 == 4, 0.0, chance.uniform(0.001, 9, count).round(8))
    high, low = np.maximum(opened, closed) + 1, np.minimum(opened, closed) - 1
    stamps = START + np.arange(count) * MINUTE_MS
    return np.column_stack([stamps, opened, closed, high, low, volume])


class Client:
    """Talks through the proxy as ``requests`` would."""

    def __init__(self, server: ExchangeServer) -> None:
        self.server = server
        self._proxy = urlsplit(server.environment["HTTPS_PROXY"])
        self._trust = ssl.create_default_context(cafile=server.environment["REQUESTS_CA_BUNDLE"])

    def connect(self, host: str) -> HTTPSConnection:
        assert self._proxy.hostname
        connection = HTTPSConnection(self._proxy.hostname, self._proxy.port, context=self._trust)
        connection.set_tunnel(host, 443)
        return connection

    def ask(self, host: str, path: str, body: object = None, **params: object) -> tuple[HTTPResponse, bytes]:
        with closing(self.connect(host)) as connection:
            content = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", f"{path}?{urlencode(params)}", content)
            response = connection.getresponse()
            return response, response.read()

    def get(self, host: str, path: str, body: object = None, **params: object) -> Any:
        response, content = self.ask(host, path, body, **params)
        assert response.status == 200, content
        return json.loads(content)

    def sample(self, exchange: str, **changed: object) -> Any:
        """The usual page of an exchange, some parameters changed."""
        usual = sample_of(exchange)
        return self.get(host_of(exchange), usual.path, usual.body, **{**usual.params, **changed})


@pytest.fixture
def source() -> Candles:
    return candles()


@pytest.fixture
def client(source: Candles) -> Iterator[Client]:
    markets = {(sample.exchange, sample.symbol): source for sample in SAMPLES}
    # Half a minute after the last candle, so that no exchange has forgotten the first one yet.
    with ExchangeServer(markets, END + MINUTE_MS // 2) as server:
        yield Client(server)


def klines(client: Client, **params: object) -> Any:
    return client.get("api.binance.com", "/api/v3/klines", **KLINES, **params)


def test_only_known_hosts_are_reachable(client: Client) -> None:
    with pytest.raises(OSError, match="502"):
        client.ask("example.com", "/")


def test_a_connection_is_used_again(client: Client) -> None:
    with closing(client.connect("api.binance.com")) as connection:
        for _ in range(3):
            connection.request("GET", "/api/v3/exchangeInfo")
            assert json.loads(connection.getresponse().read())["symbols"][0]["symbol"] == "BTCUSDT"
    assert [line.path for line in client.server.requests] == ["/api/v3/exchangeInfo"] * 3


def test_an_open_connection_does_not_keep_the_server_up(source: Candles) -> None:
    with ExchangeServer({("Binance Spot", SYMBOL): source}) as server:
        connection = Client(server).connect("api.binance.com")
        connection.request("GET", "/api/v3/exchangeInfo")
        connection.getresponse().read()
    connection.close()


def test_an_exchange_that_jesse_does_not_know_is_refused(source: Candles) -> None:
    with pytest.raises(KeyError):
        ExchangeServer({("Mt. Gox", SYMBOL): source})


def test_what_is_asked_is_logged(client: Client) -> None:
    klines(client, limit=2)
    (line,) = client.server.asked("candles")
    assert (line.host, line.path) == ("api.binance.com", "/api/v3/klines")
    assert (line.params["limit"], line.status, line.rows, line.fault) == ("2", 200, 2, None)


def test_now_hides_the_future_and_the_rest_of_the_running_minute(client: Client, source: Candles) -> None:
    client.server.now_ms = START + 10 * MINUTE_MS + MINUTE_MS // 4
    rows = klines(client)
    assert [row[0] for row in rows] == [START + minute * MINUTE_MS for minute in range(11)]
    assert float(rows[-1][5]) == source[10, 5] / 4
    client.server.now_ms = START + 11 * MINUTE_MS
    assert float(klines(client)[-2][5]) == source[10, 5]


def test_faults_meet_the_request_they_are_for(client: Client) -> None:
    client.server.faults.add(faults.refused(429, 7), skip=1, times=2, when=faults.for_candles)
    client.get("api.binance.com", "/api/v3/exchangeInfo")
    statuses = []
    for _ in range(4):
        response, _content = client.ask("api.binance.com", "/api/v3/klines", **KLINES)
        statuses.append((response.status, response.headers["Retry-After"]))
    assert statuses == [(200, None), (429, "7"), (429, "7"), (200, None)]
    assert client.server.faults.pending == []
    assert [line.fault for line in client.server.requests] == [None, None, "429", "429", None]


def test_a_connection_breaks_in_the_middle_of_the_body(client: Client) -> None:
    client.server.faults.add(faults.cut())
    with closing(client.connect("api.binance.com")) as connection:
        connection.request("GET", f"/api/v3/klines?{urlencode(KLINES)}")
        response = connection.getresponse()
        assert response.status == 200
        with pytest.raises(IncompleteRead):
            response.read()


def test_a_connection_is_reset(client: Client) -> None:
    client.server.faults.add(faults.reset())
    with pytest.raises(OSError, match=r"reset|closed|EOF"):
        client.ask("api.binance.com", "/api/v3/exchangeInfo")
    assert client.get("api.binance.com", "/api/v3/exchangeInfo")


def test_a_late_answer_is_dropped_with_the_server(source: Candles) -> None:
    with ExchangeServer({("Binance Spot", SYMBOL): source}) as server:
        server.faults.add(faults.slow(3600))
        connection = Client(server).connect("api.binance.com")
        connection.request("GET", "/api/v3/exchangeInfo")
    with closing(connection), pytest.raises(OSError, match=r"closed|reset|EOF"):
        connection.getresponse()


@pytest.mark.parametrize(
    "fault",
    [faults.duplicate_rows(), faults.out_of_order(), faults.rewritten_volume(), faults.high_below_low()],
    ids=lambda fault: fault.name,
)
def test_spoiled_rows_are_spoiled(client: Client, fault: faults.Fault) -> None:
    good = klines(client, limit=20)
    client.server.faults.add(fault)
    bad = klines(client, limit=20)
    assert bad != good
    assert {row[0] for row in bad} == {row[0] for row in good}
    assert klines(client, limit=20) == good


def test_other_spoiled_pages(client: Client) -> None:
    for fault in (faults.empty_page(), faults.not_a_number(), faults.unfinished_last()):
        client.server.faults.add(fault)
    assert klines(client, startTime=START, limit=3) == []
    assert klines(client, startTime=START, limit=3)[-1][2] == "nan"
    young, final = (float(klines(client, startTime=START, limit=3)[-1][5]) for _ in range(2))
    assert young == final / 4


def test_row_faults_wait_for_a_page(client: Client) -> None:
    client.server.faults.add(faults.empty_page())
    assert client.get("api.binance.com", "/api/v3/exchangeInfo")["symbols"]
    assert klines(client) == []


def test_refusals_are_in_the_words_of_the_exchange(client: Client) -> None:
    for status in (418, 403, 503):
        client.server.faults.add(faults.refused(status))
    told, page, down = (client.ask("api.binance.com", "/api/v3/klines", **KLINES) for _ in range(3))
    assert json.loads(told[1])["code"] == -1003
    assert (page[0].status, page[0].headers["Content-Type"]) == (403, "text/html")
    assert down[0].status == 503
    client.server.faults.add(faults.refused(429))
    limited = client.ask("api-pub.bitfinex.com", "/v2/conf/pub:list:pair:exchange")
    assert json.loads(limited[1]) == ["error", 11010, "ratelimit: error"]


def test_binance_pages(client: Client, source: Candles) -> None:
    both_ends = klines(client, startTime=START, endTime=START + 2 * MINUTE_MS)
    assert [row[0] for row in both_ends] == [START, START + MINUTE_MS, START + 2 * MINUTE_MS]
    assert [float(value) for value in both_ends[0][1:6]] == list(source[0, [1, 3, 4, 2, 5]])
    assert klines(client, startTime=0, limit=1)[0][0] == START
    assert klines(client, limit=1)[0][0] == source[-1, 0]
    assert klines(client, startTime=0, endTime=START - 1) == []
    response, content = client.ask("api.binance.com", "/api/v3/klines", symbol="NOPE", interval="1m")
    assert (response.status, json.loads(content)["code"]) == (400, -1121)


def test_bybit_pages(client: Client, source: Candles) -> None:
    def pages(**params: object) -> Any:
        return client.get("api.bybit.com", "/v5/market/kline", category="linear", interval=1, **params)

    newest_first = pages(symbol="BTCUSDT", start=START, limit=2)["result"]["list"]
    assert [int(row[0]) for row in newest_first] == [START + MINUTE_MS, START]
    assert [float(value) for value in newest_first[1][1:6]] == list(source[0, [1, 3, 4, 2, 5]])
    assert pages(symbol="BTCUSDT", start=0, limit=1)["result"]["list"][0][0] == str(START)
    assert pages(symbol="NOPE")["retCode"] == 10001
    spot = client.get("api.bybit.com", "/v5/market/kline", category="spot", interval=1, symbol="BTCUSDT")
    assert spot["retCode"] == 10001


def test_bitfinex_pages(client: Client, source: Candles) -> None:
    def pages(pair: str, **params: object) -> Any:
        return client.get("api-pub.bitfinex.com", f"/v2/candles/trade:1m:t{pair}/hist", **params)

    rows = pages("BTCUSD", start=START, end=START + 5 * MINUTE_MS, limit=1440, sort=1)
    assert rows == source[[0, 1, 2, 3, 5]].tolist(), "the fifth minute is without trades"
    assert pages("BTCUSD", limit=2) == source[[298, 297]].tolist()
    assert pages("None") == []


def stamps(minutes: list[int]) -> list[int]:
    return [START + minute * MINUTE_MS for minute in minutes]


def test_coinbase_pages(client: Client) -> None:
    page = client.sample("Coinbase Spot", end=SECONDS + 5 * 60)["candles"]
    assert [int(row["start"]) * 1000 for row in page] == stamps([5, 3, 2, 1, 0]), "newest first"
    response, _ = client.ask(
        "api.coinbase.com",
        "/api/v3/brokerage/market/products/BTC-USD/candles",
        granularity="ONE_MINUTE",
        start=SECONDS,
        end=SECONDS + 350 * 60,
    )
    assert response.status == 400


def test_gate_pages(client: Client, source: Candles) -> None:
    spot = client.sample("Gate Spot", to=SECONDS + 60)
    assert [int(row[0]) * 1000 for row in spot] == stamps([0, 1]), "both ends are included"
    closed, high, low, opened, volume = (float(value) for value in spot[0][2:7])
    assert [opened, closed, high, low, volume] == source[0, 1:].tolist()
    assert client.sample("Gate USDT Perpetual", to=SECONDS)[0]["t"] == SECONDS
    for refused in ({"limit": 5}, {"from": SECONDS - 86_400 * 7}, {"to": SECONDS + 60 * 1000}):
        params = {**sample_of("Gate Spot").params, **refused}
        response, content = client.ask("api.gateio.ws", "/api/v4/spot/candlesticks", **params)
        assert (response.status, json.loads(content)["label"]) == (400, "INVALID_PARAM_VALUE")


def test_hyperliquid_keeps_the_latest_5000() -> None:
    with ExchangeServer({("Hyperliquid Perpetual", "BTC-USD"): candles(5200)}) as server:
        page = Client(server).sample("Hyperliquid Perpetual")
    assert [row["t"] for row in page] == stamps(list(range(200, 5200)))


def test_apex_pages_are_the_newest_200(client: Client) -> None:
    page = client.sample("Apex Omni Perpetual", start=SECONDS)["data"]["BTCUSDT"]
    assert [row["t"] for row in page] == stamps(list(range(100, 300)))
    assert client.sample("Apex Omni Perpetual", symbol="NOPE")["data"] == {}


def test_kucoin_pages(client: Client) -> None:
    spot = client.sample("KuCoin Spot", startAt=SECONDS, endAt=SECONDS + 5 * 60)["data"]
    assert [int(row[0]) * 1000 for row in spot] == stamps([5, 3, 2, 1, 0]), "newest first, end included"
    futures = client.sample("KuCoin USDT Perpetual", **{"from": START, "to": END})["data"]
    assert len(futures) == 200
    assert [row[0] for row in futures[:5]] == stamps([0, 1, 2, 3, 5])
    assert client.sample("KuCoin USDT Perpetual", symbol="NOPEUSDTM")["code"] != "200000"


def test_kraken_pages(client: Client) -> None:
    spot = client.sample("Kraken Pro Spot", since=SECONDS + 60 * 297)["result"]
    assert [row[0] * 1000 for row in spot["XXBTZUSD"]] == stamps([298, 299]), "the start is left out"
    late = client.sample("Kraken Pro Spot", since=SECONDS + 60 * 999)["result"]["XXBTZUSD"]
    assert [row[0] * 1000 for row in late] == stamps([299]), "the last is always there"
    assert client.sample("Kraken Pro Spot", pair="NOPE")["error"] == ["EQuery:Unknown asset pair"]
    futures = client.sample("Kraken Pro Futures", **{"from": SECONDS, "to": SECONDS + 60})
    assert [row["time"] for row in futures["candles"]] == stamps([0, 1])
    assert futures["more_candles"] is False


def test_lighter_pages(client: Client) -> None:
    page = client.sample("Lighter Perpetual", count_back=3)["c"]
    assert [row["t"] for row in page] == stamps([0, 1, 2])


def test_pages_have_the_shape_of_recordings(client: Client) -> None:
    found, compared = compare(RECORDINGS, pages_of(client))
    print(f"{len(found)} recordings: {found}; compared: {compared}")
    if not compared:
        pytest.skip(f"no recorded pages of candles in {RECORDINGS.parent.name}/{RECORDINGS.name}")
    assert all(compared.values())


def test_a_recording_of_another_shape_is_noticed(client: Client, tmp_path: Path) -> None:
    page = client.sample("Kraken Pro Spot")
    more = {"url": "https://api.kraken.com/0/public/OHLC", "body": json.dumps({**page, "more": 1})}
    less = {**page, "result": {"XETHZUSD": [[1, 2]], "last": 3}}
    other = {"unrelated": True}
    for name, content in (("kraken-ohlc", more), ("kraken-ohlc-2", less), ("kraken-trades", other)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    found, compared = compare(tmp_path, pages_of(client))
    assert found == ["kraken-ohlc-2.json", "kraken-ohlc.json", "kraken-trades.json"]
    assert compared == {"kraken-ohlc.json": True, "kraken-ohlc-2.json": False}


def pages_of(client: Client) -> list[tuple[str, Any]]:
    return [(sample.family, client.sample(sample.exchange)) for sample in SAMPLES]
