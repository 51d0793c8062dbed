"""Copies of candles are whole while others ask Jesse for other things, and no transaction stays open."""

import re
import threading
from collections.abc import Callable

import numpy as np
from pydantic import SecretStr

from jesse_host import PASSWORD, JesseHost
from jesse_mcp.adapters.dashboard.candle_export import exported
from jesse_mcp.adapters.dashboard.candle_upload import delete_series, upload_candles
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.adapters.dashboard.login import Credentials
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.domain.candles import SeriesKey

KEY = SeriesKey(exchange="Binance Perpetual Futures", symbol="DOWNLOAD-USDT")
DAYS = 20


def test_downloads_and_requests_of_several_clients(jesse_host: JesseHost) -> None:
    clients = [DashboardClient(jesse_host.url, Credentials(password=SecretStr(PASSWORD))) for _ in range(3)]
    upload_candles(clients[0], KEY, synthetic_candles(1_704_067_200_000, DAYS * 1440, 3))
    expected = exported(clients[0], KEY)
    assert len(expected) == DAYS * 1440
    failures: list[BaseException] = []

    def download(client: DashboardClient) -> None:
        np.testing.assert_array_equal(exported(client, KEY), expected)

    def ask(client: DashboardClient) -> None:
        assert client.read("/backtest/sessions", {"limit": 1})["count"] in {0, 1}

    def repeated(work: Callable[[DashboardClient], None], client: DashboardClient, times: int) -> None:
        try:
            for _ in range(times):
                work(client)
        except BaseException as error:  # noqa: BLE001  (told to the test below)
            failures.append(error)

    jobs = [
        (download, clients[0], 3),
        (download, clients[1], 3),
        (ask, clients[1], 60),
        (ask, clients[2], 60),
    ]
    threads = [threading.Thread(target=repeated, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = jesse_host.sql("select count(*) from pg_stat_activity where state like 'idle in transaction%'")
    delete_series(clients[0], KEY)
    for client in clients:
        client.close()
    assert failures == []
    assert re.search(r"\b0\b", left), left
    assert not list((jesse_host.project / "research_scripts").iterdir())
    assert not list((jesse_host.project / "strategies").glob("Candles_mcp_*"))
