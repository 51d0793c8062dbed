"""What the supported Jesse release offers, recorded so that it is known without starting Jesse."""

from pydantic import Field

from jesse_mcp.domain.backtests import ExchangeType
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.strategies import IndicatorInfo


class ExchangeInfo(Value):
    name: str
    type: ExchangeType
    fee: float = Field(description="Jesse's default fee rate, a fraction of the traded value")
    settlement_currency: str | None
    backtesting: bool


class JesseCatalog(Value):
    """Generated from the real Jesse; a test regenerates it and compares."""

    jesse_version: str
    exchanges: tuple[ExchangeInfo, ...]
    strategy_members: tuple[str, ...] = Field(description="every public attribute of a live Strategy")
    abstract_methods: tuple[str, ...]
    indicators: tuple[IndicatorInfo, ...]
    utils: tuple[str, ...] = Field(description="public functions of jesse.utils")
