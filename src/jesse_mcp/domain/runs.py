"""A finished run as it is stored: what was asked, with which code and candles, and what came out."""

from typing import Any, Literal

from pydantic import Field

from jesse_mcp.domain.backtests import EngineOutcome
from jesse_mcp.domain.model import Value

#: Asked for by itself, a cell of a batch, tried by a search, a run repeated (on altered candles, in a crisis,
#: at higher costs), a pair: simulated here, or the same decisions executed by Jesse; or a paper session.
RunKind = Literal["backtest", "batch", "trial", "scenario", "pairs", "paper"]

#: Why a run of the kind ``pairs`` cannot be made again.
NO_STRATEGY = "it is of pairs_backtest, whose decisions are no strategy that could be run on other candles"


class RunRecord(Value):
    """Immutable once written.

    ``fingerprint`` identifies the experiment: request, code, candles, engine versions. Two runs with one
    fingerprint have the same answer, so the second is served from the first.
    """

    run_id: str
    kind: RunKind
    created_at: str = Field(description="UTC, ISO 8601")
    fingerprint: str
    strategies: tuple[str, ...]
    symbols: tuple[str, ...]
    title: str | None
    request: dict[str, Any]
    code_hash: str
    candle_hashes: dict[str, str]
    outcome: EngineOutcome
    benchmark: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()


class RunSummary(Value):
    """One line of a listing: identity and headline metrics."""

    run_id: str
    kind: RunKind
    created_at: str
    title: str | None
    strategies: tuple[str, ...]
    symbols: tuple[str, ...]
    request: dict[str, Any]
    metrics: dict[str, float | int | str | None]
