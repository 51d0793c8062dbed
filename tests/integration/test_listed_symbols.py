"""What an exchange lists, as an agent and as a person at a terminal ask for it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange_server import ExchangeServer
from jesse_mcp.analytics.synthetic import synthetic_candles
from mcp_desk import Desk, environment, stdio_desk

SPOT = "Binance Spot"
COINS = [f"COIN{number}-USDT" for number in range(250)]
COMMAND = [sys.executable, "-m", "jesse_mcp", "candles", "symbols"]


@pytest.fixture(scope="module")
def surroundings(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    rows = synthetic_candles(1_704_067_200_000, 10, 1)
    markets = {(SPOT, symbol): rows for symbol in ["BTC-USDT", "ETH-USDT", "ETH-BTC", *COINS]}
    with ExchangeServer(markets) as server:
        folder = tmp_path_factory.mktemp("listed")
        yield environment(folder, engine_python, JESSE_MCP_PREWARM="false", **server.environment)


@pytest.fixture(scope="module")
def desk(surroundings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with stdio_desk(surroundings, tmp_path_factory.mktemp("log") / "log") as running:
        yield running


def test_an_agent_looks_for_a_symbol(desk: Desk) -> None:
    found = desk.call("candles_available", exchange="binance spot", listed="eth")
    assert found["listed"] == {"exchange": SPOT, "count": 2, "symbols": ["ETH-BTC", "ETH-USDT"]}
    assert found["series"] == []
    nothing = desk.call("candles_available", exchange=SPOT, listed="DOGE")
    assert (nothing["listed"]["count"], nothing["listed"]["symbols"]) == (0, [])


def test_a_long_list_is_cut_and_says_so(desk: Desk) -> None:
    listed = desk.call("candles_available", exchange=SPOT, listed="")["listed"]
    assert (listed["count"], len(listed["symbols"])) == (253, 200)
    assert listed["symbols"] == sorted(listed["symbols"])


def test_what_an_agent_cannot_ask_for(desk: Desk) -> None:
    assert "exchange" in desk.refused("candles_available", listed="BTC")["message"]
    for beside in ({"symbol": "BTC-USDT"}, {"start_date": "2024-01-01"}, {"end_date": "2024-01-01"}):
        error = desk.refused("candles_available", exchange=SPOT, listed="", **beside)
        assert next(iter(beside)) in error["message"]
    error = desk.refused("candles_available", exchange="Bitget Spot", listed="")
    assert (error["code"], "no driver" in error["message"]) == ("capability_missing", True)


def asked(surroundings: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments], env=surroundings, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_person_gets_one_symbol_on_a_line(surroundings: dict[str, str]) -> None:
    everything = asked(surroundings, SPOT)
    assert everything.returncode == 0, everything.stderr
    assert everything.stdout.splitlines() == sorted(["BTC-USDT", "ETH-USDT", "ETH-BTC", *COINS])
    found = asked(surroundings, SPOT, "--search", "eth-", "--json")
    assert json.loads(found.stdout) == {"exchange": SPOT, "count": 2, "symbols": ["ETH-BTC", "ETH-USDT"]}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([SPOT, "--search", "DOGE"], "symbol_unknown"),
        (["Dydx Perpetual"], "capability_missing"),
        (["Nowhere"], "invalid_argument"),
    ],
)
def test_a_person_is_told_why_there_is_none(
    surroundings: dict[str, str], arguments: list[str], code: str
) -> None:
    ended = asked(surroundings, *arguments)
    assert (ended.returncode, ended.stdout) == (1, "")
    message, hint = ended.stderr.splitlines()
    assert message.startswith(f"{code}: ")
    assert hint
