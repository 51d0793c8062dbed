"""Exchange names as people write them, resolved to the names Jesse knows."""

import difflib
import re

from jesse_mcp.domain.catalog import ExchangeInfo, JesseCatalog
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value

_FUTURES_WORDS = frozenset(
    {"futures", "future", "perpetual", "perpetuals", "perp", "perps", "swap", "swaps", "derivatives"}
)
_SPOT_WORDS = frozenset({"spot"})
_TEST_WORDS = frozenset({"testnet", "demo", "sandbox", "paper"})
_CURRENCIES = frozenset({"usdt", "usdc", "usd"})
#: Spellings that are one word elsewhere, above all the identifiers of other trading libraries.
_SPELLINGS = {
    "binanceus": "binance us",
    "binanceusdm": "binance futures",
    "binancefutures": "binance futures",
    "coinbase pro": "coinbase",
    "coinbase advanced": "coinbase",
    "coinbase exchange": "coinbase",
    "coinbaseexchange": "coinbase",
    "gateio": "gate",
    "gate io": "gate",
    "hyper liquid": "hyperliquid",
    "krakenfutures": "kraken futures",
    "ku coin": "kucoin",
    "kucoinfutures": "kucoin futures",
}


class _Meaning(Value):
    """What a name says about an exchange; ``None`` where it says nothing."""

    brand: tuple[str, ...]
    type: str | None
    currency: str | None
    testnet: bool


def resolve_exchange(name: str, catalog: JesseCatalog) -> ExchangeInfo:
    """The exchange that ``name`` means: Jesse's own name in any case, or a usual short form.

    A short form that fits several exchanges (``binance`` is a spot and a futures exchange) is refused, since
    the fees and the rules of trading differ. Test networks are meant only when they are named.

    Raises:
        ResearchError: ``invalid_argument``, naming the candidates or the closest matches.
    """
    folded = _folded(name)
    for exchange in catalog.exchanges:
        if _folded(exchange.name) == folded:
            return exchange
    wanted = _meaning(_respelled(folded))
    fitting = [exchange for exchange in catalog.exchanges if _fits(wanted, exchange)]
    if len(fitting) == 1:
        return fitting[0]
    raise _ambiguous(name, fitting) if fitting else _unknown(name, folded, catalog)


def _folded(name: str) -> str:
    return " ".join(re.split(r"[\s._/-]+", name.casefold())).strip()


def _respelled(folded: str) -> str:
    for spelling, usual in _SPELLINGS.items():
        if folded == spelling or folded.startswith(f"{spelling} "):
            return usual + folded.removeprefix(spelling)
    return folded


def _meaning(folded: str) -> _Meaning:
    words = folded.split()
    kinds = {"futures" for word in words if word in _FUTURES_WORDS}
    kinds |= {"spot" for word in words if word in _SPOT_WORDS}
    currencies = [word for word in words if word in _CURRENCIES]
    qualifiers = _FUTURES_WORDS | _SPOT_WORDS | _TEST_WORDS | _CURRENCIES
    return _Meaning(
        brand=tuple(word for word in words if word not in qualifiers),
        type=kinds.pop() if len(kinds) == 1 else None,
        currency=currencies[0] if currencies else None,
        testnet=any(word in _TEST_WORDS for word in words),
    )


def _fits(wanted: _Meaning, exchange: ExchangeInfo) -> bool:
    own = _meaning(_folded(exchange.name))
    if not wanted.brand or wanted.testnet != own.testnet:
        return False
    if wanted.type not in {None, exchange.type}:
        return False
    # Only contracts settle in one currency; a spot exchange has pairs in many.
    if exchange.type == "futures" and own.currency and wanted.currency not in {None, own.currency}:
        return False
    # "us" names another company, while "pro" or "omni" is only part of a longer name.
    if ("us" in wanted.brand) != ("us" in own.brand):
        return False
    return own.brand[: len(wanted.brand)] == wanted.brand


def _ambiguous(name: str, fitting: list[ExchangeInfo]) -> ResearchError:
    candidates = [exchange.name for exchange in fitting]
    return ResearchError(
        ErrorCode.INVALID_ARGUMENT,
        f"exchange is {name!r}, which fits {len(fitting)} exchanges",
        hint=f"say which one: {', '.join(candidates)}",
        details={"candidates": candidates},
    )


def _unknown(name: str, folded: str, catalog: JesseCatalog) -> ResearchError:
    by_word: dict[str, list[str]] = {}
    for exchange in catalog.exchanges:
        own = _folded(exchange.name)
        for key in {own, own.split()[0]}:
            by_word.setdefault(key, []).append(exchange.name)
    close: list[str] = []
    for text in (folded, folded.split(" ", maxsplit=1)[0]):
        for match in difflib.get_close_matches(text, by_word, n=3, cutoff=0.6):
            close += [exchange for exchange in by_word[match] if exchange not in close]
    known = close or [exchange.name for exchange in catalog.exchanges if "Testnet" not in exchange.name]
    return ResearchError(
        ErrorCode.INVALID_ARGUMENT,
        f"exchange is {name!r}, which Jesse {catalog.jesse_version} does not know",
        hint=f"{'did you mean one of' if close else 'use one of'}: {', '.join(known)}",
        details={"closest": close},
    )
