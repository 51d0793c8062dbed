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
    Table,
)

from jesse_mcp.adapters.storage.columns import Words

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
    Column("run_id", Words(), nullable=False, unique=True),
    Column("kind", Words(), nullable=False),
    Column("created_at", Words(), nullable=False),
    Column("fingerprint", Words(), nullable=False),
    Column("code_hash", Words(), nullable=False),
    Column("title", Words()),
    Column("summary", Words(), nullable=False),
    Column("record", LargeBinary, nullable=False),
    Index("ix_runs_newest", "created_at", "seq"),
    Index("ix_runs_fingerprint", "fingerprint"),
    Index("ix_runs_code_hash", "code_hash"),
)

run_labels = Table(
    "run_labels",
    metadata,
    Column("role", Words(), primary_key=True),
    Column("value", Words(), primary_key=True),
    Column("run_seq", ForeignKey("runs.seq", ondelete="CASCADE"), primary_key=True),
)

jobs = Table(
    "jobs",
    metadata,
    _sequence(),
    Column("job_id", Words(), nullable=False, unique=True),
    Column("kind", Words(), nullable=False),
    Column("state", Words(), nullable=False),
    Column("created_at", Words(), nullable=False),
    Column("started_at", Words()),
    Column("finished_at", Words()),
    Column("owner", Words(), nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("progress", Double),
    Column("message", Words()),
    Column("run_id", Words()),
    Column("error", Words()),
    Column("log_tail", Words(), nullable=False, default=""),
    Column("request", Words(), nullable=False),
    Column("result", Words()),
    Column("tool", Words()),
    Index("ix_jobs_newest", "created_at", "seq"),
    Index("ix_jobs_state", "state", "owner"),
)

# What the webhook of jobs is to be told. Its address may hold a secret and is not kept. Epoch milliseconds.
job_notices = Table(
    "job_notices",
    metadata,
    Column("job_seq", ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True),
    Column("error_code", Words()),
    Column("noticed_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_at", BigInteger),
    Column("delivered_at", BigInteger),
    Column("failure", Words()),
    Index("ix_job_notices_due", "next_attempt_at"),
)

trials = Table(
    "trials",
    metadata,
    _sequence(),
    Column("trial_id", Words(), nullable=False, unique=True),
    Column("created_at", Words(), nullable=False),
    Column("family", Words(), nullable=False),
    Column("code_hash", Words(), nullable=False),
    Column("fingerprint", Words(), nullable=False, unique=True),
    Column("parameters", Words(), nullable=False),
    Column("market", Words(), nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("run_id", Words()),
    Column("sharpe", Double),
    Column("daily_returns", LargeBinary),
    Column("code_shape", Words()),
    Column("strategy_shapes", Words()),
    Index("ix_trials_family", "family", "created_at", "seq"),
    Index("ix_trials_code_shape", "code_shape", "family"),
)

# Not unique: what failed is only believed by those that began before, so it may fail again later.
failures = Table(
    "failures",
    metadata,
    _sequence(),
    Column("fingerprint", Words(), nullable=False),
    Column("created_at", Words(), nullable=False),
    Column("error", Words(), nullable=False),
    Index("ix_failures_fingerprint", "fingerprint", "created_at"),
)
