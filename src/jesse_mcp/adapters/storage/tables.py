"""The schema, in types that SQLite and PostgreSQL share."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()


def _sequence() -> Column[int]:
    # The order of insertion breaks ties of created_at, so that pages are stable. SQLite numbers rows by
    # itself only when the type is INTEGER.
    return Column("seq", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True)


schema_version = Table(
    "schema_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False)
)

# The record comes last: a listing that reads the columns before it never touches its pages.
runs = Table(
    "runs",
    metadata,
    _sequence(),
    Column("run_id", String(64), nullable=False, unique=True),
    Column("kind", String(64), nullable=False),
    Column("created_at", String(64), nullable=False),
    Column("fingerprint", String(256), nullable=False),
    Column("code_hash", String(256), nullable=False),
    Column("title", Text),
    Column("summary", Text, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Index("ix_runs_newest", "created_at", "seq"),
    Index("ix_runs_fingerprint", "fingerprint"),
    Index("ix_runs_code_hash", "code_hash"),
)

run_labels = Table(
    "run_labels",
    metadata,
    Column("role", String(16), primary_key=True),
    Column("value", String(256), primary_key=True),
    Column("run_seq", ForeignKey("runs.seq", ondelete="CASCADE"), primary_key=True),
)

jobs = Table(
    "jobs",
    metadata,
    _sequence(),
    Column("job_id", String(64), nullable=False, unique=True),
    Column("kind", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", String(64), nullable=False),
    Column("started_at", String(64)),
    Column("finished_at", String(64)),
    Column("owner", String(512), nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("progress", Double),
    Column("message", Text),
    Column("run_id", String(64)),
    Column("error", Text),
    Column("log_tail", Text, nullable=False, default=""),
    Column("request", Text, nullable=False),
    Column("result", Text),
    Index("ix_jobs_newest", "created_at", "seq"),
    Index("ix_jobs_state", "state", "owner"),
)

trials = Table(
    "trials",
    metadata,
    _sequence(),
    Column("trial_id", String(64), nullable=False, unique=True),
    Column("created_at", String(64), nullable=False),
    Column("family", Text, nullable=False),
    Column("code_hash", String(256), nullable=False),
    Column("fingerprint", String(256), nullable=False, unique=True),
    Column("parameters", Text, nullable=False),
    Column("market", Text, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("run_id", String(64)),
    Column("sharpe", Double),
    Column("daily_returns", LargeBinary),
    Column("code_shape", String(64)),
    Column("strategy_shapes", Text),
    Index("ix_trials_family", "family", "created_at", "seq"),
    Index("ix_trials_code_shape", "code_shape", "family"),
)

# Not unique: what failed is only believed by those that began before, so it may fail again later.
failures = Table(
    "failures",
    metadata,
    _sequence(),
    Column("fingerprint", String(256), nullable=False),
    Column("created_at", String(64), nullable=False),
    Column("error", Text, nullable=False),
    Index("ix_failures_fingerprint", "fingerprint", "created_at"),
)
