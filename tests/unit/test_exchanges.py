"""Exchange names as people write them."""

import pytest

from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.exchanges import resolve_exchange

CATALOG = load_catalog()


@pytest.mark.parametrize("name", [exchange.name for exchange in CATALOG.exchanges])
def test_every_name_of_jesse_resolves_to_itself_in_any_case(name: str) -> None:
    for written in (name, name.lower(), name.upper(), f" {name} ", name.replace(" ", "-")):
        assert resolve_exchange(written, CATALOG).name == name


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("binance spot", "Binance Spot"),
        ("Binance Futures", "Binance Perpetual Futures"),
        ("binance perpetual", "Binance Perpetual Futures"),
        ("binance perp", "Binance Perpetual Futures"),
        ("binance usdt futures", "Binance Perpetual Futures"),
        ("binanceusdm", "Binance Perpetual Futures"),
        ("binance futures testnet", "Binance Perpetual Futures Testnet"),
        ("binance testnet", "Binance Perpetual Futures Testnet"),
        ("binanceus", "Binance US Spot"),
        ("binance.us", "Binance US Spot"),
        ("bybit spot", "Bybit Spot"),
        ("bybit usdt perp", "Bybit USDT Perpetual"),
        ("bybit usdc futures", "Bybit USDC Perpetual"),
        ("coinbase", "Coinbase Spot"),
        ("Coinbase Pro", "Coinbase Spot"),
        ("bitfinex", "Bitfinex Spot"),
        ("gate.io futures", "Gate USDT Perpetual"),
        ("gateio spot", "Gate Spot"),
        ("kucoin futures", "KuCoin USDT Perpetual"),
        ("kucoin-spot", "KuCoin Spot"),
        ("kraken spot", "Kraken Pro Spot"),
        ("krakenfutures", "Kraken Pro Futures"),
        ("hyperliquid", "Hyperliquid Perpetual"),
        ("apex", "Apex Omni Perpetual"),
        ("apex omni", "Apex Omni Perpetual"),
        ("dydx", "Dydx Perpetual"),
        ("lighter", "Lighter Perpetual"),
    ],
)
def test_usual_short_forms(written: str, meant: str) -> None:
    assert resolve_exchange(written, CATALOG).name == meant


@pytest.mark.parametrize(
    ("written", "candidates"),
    [
        ("binance", {"Binance Spot", "Binance Perpetual Futures"}),
        ("bybit", {"Bybit Spot", "Bybit USDT Perpetual", "Bybit USDC Perpetual"}),
        ("bybit perpetual", {"Bybit USDT Perpetual", "Bybit USDC Perpetual"}),
        ("bybit usdt", {"Bybit Spot", "Bybit USDT Perpetual"}),
        ("gate", {"Gate Spot", "Gate USDT Perpetual"}),
        ("kucoin", {"KuCoin Spot", "KuCoin USDT Perpetual"}),
        ("kraken", {"Kraken Pro Spot", "Kraken Pro Futures"}),
    ],
)
def test_what_could_be_spot_or_futures_is_refused_with_the_candidates(
    written: str, candidates: set[str]
) -> None:
    with pytest.raises(ResearchError) as caught:
        resolve_exchange(written, CATALOG)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert set(caught.value.details["candidates"]) == candidates  # type: ignore[call-overload]
    assert all(candidate in (caught.value.hint or "") for candidate in candidates)


def test_a_misspelt_name_brings_the_closest() -> None:
    with pytest.raises(ResearchError, match="binanec") as caught:
        resolve_exchange("binanec futures", CATALOG)
    assert "Binance Perpetual Futures" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "written", ["", "  ", "nasdaq", "spot", "usdt", "bybit inverse", "\0", "binance margin futures x"]
)
def test_what_nobody_knows_is_refused_with_what_there_is(written: str) -> None:
    with pytest.raises(ResearchError) as caught:
        resolve_exchange(written, CATALOG)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.hint
