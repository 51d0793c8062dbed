"""The arguments by which every analysis tool is told what to analyse."""

from typing import Annotated

from pydantic import Field, FiniteFloat

from jesse_mcp.services.analysis_source import MarketSource

RunId = Annotated[
    str | None, Field(description="a finished run; or one of returns, balances, market, session_id")
]
Returns = Annotated[list[FiniteFloat] | None, Field(description="fractions a period, oldest first")]
Balances = Annotated[
    list[tuple[int, FiniteFloat]] | None, Field(description="[epoch ms, balance], oldest first")
]
Market = Annotated[MarketSource | None, Field(description="closes of stored candles")]
SessionId = Annotated[str | None, Field(description="a paper session")]
PeriodsPerYear = Annotated[
    FiniteFloat | None, Field(description="of returns (default 365) or balances (default: their spacing)")
]
