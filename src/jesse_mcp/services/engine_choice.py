"""On which engine a run is made: the one the settings name, or the one on this machine."""

from dataclasses import dataclass

from jesse_mcp.domain.backtests import EngineChoice
from jesse_mcp.ports.engine import BacktestEngine


@dataclass(frozen=True)
class EmbeddedBeside:
    """The embedded engine, where the settings name another one.

    Attributes:
        engine: it runs the same plan, on the same mapped candles and the same pinned code.
        remark: what every run on it says, since its reader expects the other one.
    """

    engine: BacktestEngine
    remark: str


def engine_for(
    choice: EngineChoice, configured: BacktestEngine, beside: EmbeddedBeside | None
) -> BacktestEngine:
    """The engine of a choice; without one ``beside`` it, the configured engine is the embedded one."""
    return configured if beside is None or choice == "configured" else beside.engine
