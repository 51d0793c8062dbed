"""The tables of paper sessions, in types that SQLite and PostgreSQL share. Times are epoch milliseconds."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
)

from jesse_mcp.adapters.storage.columns import Words
from jesse_mcp.adapters.storage.tables import metadata


def _session() -> Column[int]:
    return Column("session_seq", ForeignKey("paper_sessions.seq", ondelete="CASCADE"), primary_key=True)


# SQLite numbers rows by itself only when the type is INTEGER. The code comes last: a listing that reads the
# columns before it never touches its pages.
paper_sessions = Table(
    "paper_sessions",
    metadata,
    Column("seq", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("session_id", Words(), nullable=False, unique=True),
    Column("status", Words(), nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("owner", Words(), nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("stop_requested", Boolean, nullable=False, default=False),
    Column("processed_through", BigInteger),
    Column("trade_count", BigInteger, nullable=False, default=0),
    Column("order_count", BigInteger, nullable=False, default=0),
    Column("daily_count", BigInteger, nullable=False, default=0),
    Column("leverage", Integer, nullable=False),
    Column("run_id", Words()),
    Column("code_hash", Words(), nullable=False),
    Column("engine", Words(), nullable=False),
    Column("notes", Words()),
    Column("webhook", Words()),
    Column("watch", Words(), nullable=False),
    Column("warnings", Words(), nullable=False),
    Column("error", Words()),
    Column("log_tail", Words(), nullable=False, default=""),
    Column("request", Words(), nullable=False),
    Column("state", Words(), nullable=False),
    Column("source", LargeBinary, nullable=False),
    Index("ix_paper_sessions_status", "status", "owner"),
)

paper_warm_up = Table(
    "paper_warm_up",
    metadata,
    _session(),
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("candles", LargeBinary, nullable=False),
)

# A row holds the minutes of one batch: a minute of an exchange, or many of a replay.
paper_candles = Table(
    "paper_candles",
    metadata,
    _session(),
    Column("first_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("minutes", Integer, nullable=False),
    Column("candles", LargeBinary, nullable=False),
)

paper_orders = Table(
    "paper_orders",
    metadata,
    _session(),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("record", Words(), nullable=False),
)

paper_trades = Table(
    "paper_trades",
    metadata,
    _session(),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("record", Words(), nullable=False),
)

# ``peak`` and ``max_drawdown`` are the highest so far: a point knows them without those before it.
paper_equity = Table(
    "paper_equity",
    metadata,
    _session(),
    Column("timestamp", BigInteger, primary_key=True, autoincrement=False),
    Column("equity", Double, nullable=False),
    Column("unrealized_pnl", Double, nullable=False),
    Column("peak", Double, nullable=False),
    Column("max_drawdown", Double, nullable=False),
    sqlite_with_rowid=False,
)

paper_daily = Table(
    "paper_daily",
    metadata,
    _session(),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("balance", Double, nullable=False),
)

paper_changes = Table(
    "paper_changes",
    metadata,
    _session(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("leverage", Integer, nullable=False),
    Column("before_ms", BigInteger),
    Column("error", Words()),
)

# ``event_key`` tells events apart: what is noted again after a crash is there once.
paper_events = Table(
    "paper_events",
    metadata,
    _session(),
    Column("event_key", Words(), primary_key=True),
    Column("timestamp", BigInteger, nullable=False),
    Column("kind", Words(), nullable=False),
    Column("message", Words(), nullable=False),
    Index("ix_paper_events_newest", "session_seq", "timestamp"),
)

paper_alerts = Table(
    "paper_alerts",
    metadata,
    _session(),
    Column("alert_key", Words(), primary_key=True),
    Column("timestamp", BigInteger, nullable=False),
    Column("record", Words(), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_at", BigInteger),
    Column("delivered_at", BigInteger),
    Column("failure", Words()),
    Index("ix_paper_alerts_due", "next_attempt_at"),
)

PAPER_TABLES = (
    paper_sessions,
    paper_warm_up,
    paper_candles,
    paper_orders,
    paper_trades,
    paper_equity,
    paper_daily,
    paper_changes,
    paper_events,
    paper_alerts,
)
