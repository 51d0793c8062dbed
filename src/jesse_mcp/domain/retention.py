"""Which exchanges keep only their latest one-minute candles, and how many.

All others are taken to keep everything since a symbol was listed.
"""

from jesse_mcp.domain.timeframes import MINUTE_MS

#: Minutes by Jesse's name of the exchange. What an exchange is sure to have is a little less, see
#: :func:`kept_since`.
_KEPT_MINUTES = {
    # "Candlestick too long ago. Maximum 10000 points recently are allowed": the exchange's own refusal.
    "Gate Spot": 10_000,
    "Gate USDT Perpetual": 10_000,
    # "Only the most recent 5000 candles are available": hyperliquid.gitbook.io, "Candle snapshot".
    "Hyperliquid Perpetual": 5_000,
    "Hyperliquid Perpetual Testnet": 5_000,
    # "Returns up to 720 of the most recent entries (older data cannot be retrieved ...)": docs.kraken.com,
    # Get OHLC Data. Minutes without trades are no entries, so a quiet market reaches back further.
    "Kraken Pro Spot": 720,
    # "a ~130-day rolling window of candles": Jesse's driver.
    "Lighter Perpetual": 129 * 1440,
    "Lighter Perpetual Testnet": 129 * 1440,
}
#: Time passes between the question and the answer, and the running minute is one of those kept.
_MARGIN_MINUTES = 10


def kept_minutes(exchange: str) -> int | None:
    """How many of the latest minutes ``exchange`` (Jesse's name) keeps; ``None`` when it keeps all."""
    return _KEPT_MINUTES.get(exchange)


def kept_since(exchange: str, now_ms: int) -> int | None:
    """The first minute (epoch ms) that ``exchange`` is sure to have at ``now_ms``; ``None`` for all."""
    kept = _KEPT_MINUTES.get(exchange)
    if kept is None:
        return None
    return (now_ms // MINUTE_MS - kept + _MARGIN_MINUTES) * MINUTE_MS
