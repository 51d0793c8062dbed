"""The imitated exchanges against what the real ones sent."""

import json
import ssl
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest

from exchange_server import MINUTE_MS, Candles, ExchangeServer, host_of
from exchange_server.recorded import RECORDED, REFUSALS, Recorded
from exchange_server.recordings import shape
from exchange_server.samples import SAMPLES, START, sample_of


def asked(server: ExchangeServer, exchange: str, changes: Mapping[str, object]) -> tuple[int, str, Any]:
    """Status, type and content of the answer to the usual request of an exchange, with changes."""
    usual = sample_of(exchange)
    body: Any = usual.body
    params = dict(usual.params)
    if isinstance(body, dict):
        body = {**body, "req": {**body["req"], **changes}}
    else:
        params |= changes
    proxy = urlsplit(server.environment["HTTPS_PROXY"])
    trust = ssl.create_default_context(cafile=server.environment["REQUESTS_CA_BUNDLE"])
    assert proxy.hostname
    connection = HTTPSConnection(proxy.hostname, proxy.port, context=trust)
    connection.set_tunnel(host_of(exchange), 443)
    with closing(connection):
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", f"{usual.path}?{urlencode(params)}", content)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], json.loads(response.read())


def served(recorded: Recorded) -> Any:
    """What our imitation sends when its market is that of the recording."""
    rows = np.array(sorted(recorded.rows(recorded.page)))
    # Half an hour later, so that every candle is finished and none too old.
    now = int(rows[-1, 0]) + 30 * MINUTE_MS
    symbol = sample_of(recorded.exchange).symbol
    with ExchangeServer({(recorded.exchange, symbol): rows}, now) as server:
        status, content_type, page = asked(server, recorded.exchange, recorded.request)
    assert (status, content_type) == (200, "application/json")
    return page


by_exchange = pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded.exchange)


@by_exchange
def test_rows_are_in_the_recorded_order_and_columns(recorded: Recorded) -> None:
    assert recorded.rows(served(recorded)) == recorded.rows(recorded.page)


@by_exchange
def test_names_and_types_are_the_recorded_ones(recorded: Recorded) -> None:
    ours, theirs = shape(served(recorded)), shape(recorded.page)
    if recorded.exchange == "Kraken Pro Futures":
        # Of the documentation. Clients written since expect the volume in quotes; Jesse's driver reads both.
        theirs["candles"][0]["volume"] = "str"
    if not recorded.typed:
        ours, theirs = (json.loads(json.dumps(one).replace("number", "str")) for one in (ours, theirs))
    assert ours == theirs


def test_every_exchange_has_a_recording_or_is_known_to_have_none() -> None:
    without = {sample.exchange for sample in SAMPLES} - {recorded.exchange for recorded in RECORDED}
    assert without == {"Lighter Perpetual"}


@pytest.mark.parametrize(
    ("exchange", "changes", "status", "body", "where"), REFUSALS, ids=[where for *_, where in REFUSALS]
)
def test_refusals_are_the_recorded_ones(
    exchange: str, changes: dict[str, object], status: int, body: object, where: str
) -> None:
    market: Candles = np.array([[START, 1.0, 1.0, 1.0, 1.0, 1.0]])
    symbol = sample_of(exchange).symbol
    with ExchangeServer({(exchange, symbol): market}, START + 2000 * MINUTE_MS) as server:
        answered = asked(server, exchange, changes)
    assert (answered[0], answered[2]) == (status, body)
