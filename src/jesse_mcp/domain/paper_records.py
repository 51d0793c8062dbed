"""Paper sessions as they are kept: what was asked, how far they are, what happened. Times are epoch ms."""

from typing import Any, Literal

from pydantic import Field

from jesse_mcp.domain.backtests import Trade
from jesse_mcp.domain.deliveries import Delivery
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.paper import PaperOrder, PaperPosition, PaperRequest, PaperStatus


class PaperPlace(Value):
    """How far a session is recorded.

    ``through`` is the close of the last minute worked through, ``None`` before the first.
    """

    through: int | None = None
    trades: int = 0
    orders: int = 0
    daily: int = 0


class PaperState(Value):
    """How a session stands after its last minute.

    ``latency_ms`` is from the close of that minute to its outcome being stored, for minutes of an exchange.
    ``leverage`` is the one in force, ``None`` before the first minute and on spot.
    """

    positions: tuple[PaperPosition, ...] = ()
    open_orders: tuple[PaperOrder, ...] = ()
    received_at: int | None = None
    latency_ms: int | None = None
    seconds: float = Field(default=0.0, description="CPU time of all steps")
    leverage: int | None = None


class PaperSession(Value):
    """A session without its code, candles and outcomes, which are read apart.

    ``request.leverage`` is what it began with, ``leverage`` what was asked for last; see
    ``leverage_in_force``.
    """

    session_id: str
    request: PaperRequest
    code_hash: str
    engine: str = Field(description="what its numbers depend on: versions of Jesse, Python and the run code")
    notes: str | None = None
    watch: tuple[dict[str, Any], ...] = Field(default=(), description="thresholds of alerts")
    webhook: str | None = None
    warnings: tuple[str, ...] = ()
    status: PaperStatus = PaperStatus.RUNNING
    started_at: int
    ended_at: int | None = None
    owner: str
    stop_requested: bool = False
    leverage: int
    place: PaperPlace = PaperPlace()
    state: PaperState = PaperState()
    error: dict[str, Any] | None = None
    run_id: str | None = None
    log_tail: str = ""

    @property
    def leverage_in_force(self) -> int:
        return self.request.leverage if self.state.leverage is None else self.state.leverage


class PaperChange(Value):
    """A leverage asked for while the session runs.

    ``before_ms`` is the minute before which it was made, ``None`` until its owner has decided;
    ``error`` is why it was refused.
    """

    number: int
    leverage: int
    before_ms: int | None = None
    error: dict[str, Any] | None = None

    @property
    def decided(self) -> bool:
        return self.before_ms is not None or self.error is not None


class PaperEvent(Value):
    """Something a person should know. ``kind`` is that of a feed's note, or of the session's own life."""

    timestamp: int
    kind: str
    message: str


class PaperAlert(Value):
    """A threshold that was crossed. ``key`` is the same however often the crossing is seen again."""

    key: str
    timestamp: int
    kind: str
    message: str
    value: float | None = None
    limit: float | None = Field(default=None, description="of the threshold")
    band_edge: float | None = Field(default=None, description="of drift: the return that was passed")
    stop: bool = Field(default=False, description="whether the session was to stop")


class AlertDelivery(Delivery):
    """An alert and what became of its webhook."""

    session_id: str
    alert: PaperAlert

    @property
    def delivery_key(self) -> str:
        return f"{self.session_id}:{self.alert.key}"

    def content(self) -> dict[str, Any]:
        return {"session_id": self.session_id, **self.alert.model_dump(mode="json")}


class PaperEquityPoint(Value):
    """Equity, its fall from the highest minute before, and the deepest fall so far: positive fractions."""

    timestamp: int = Field(description="close of the minute")
    equity: float
    unrealized_pnl: float
    drawdown: float
    max_drawdown: float


AlertState = Literal["kept", "waiting", "delivered", "given_up"]


class PaperCounts(Value):
    """All sessions at a glance. Of alerts, ``kept`` are those of sessions without a webhook."""

    sessions: dict[PaperStatus, int] = Field(description="by status, every status")
    alerts: dict[AlertState, int] = Field(description="by what became of their webhook, every state")
    furthest_behind: int | None = Field(
        description="close of the last minute worked through by the running session of an exchange that is "
        "furthest behind, or its start; null without one"
    )


class PaperEnd(Value):
    """How a session ended, and what its end added: trades and balances that closing everything made."""

    status: PaperStatus
    ended_at: int
    error: dict[str, Any] | None = None
    run_id: str | None = None
    trades: tuple[Trade, ...] = ()
    daily: tuple[tuple[int, float], ...] = ()
    final_equity: float | None = Field(
        default=None, description="replaces the equity of the last minute: nothing is open after it"
    )
    log: str = ""
