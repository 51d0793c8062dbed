"""How the schema came to be: one function per version, in order, each run once in a transaction.

A step that adds a column must look whether it is there: a new database gets the tables as they are
defined today from the step that creates them.
"""

from collections.abc import Callable

from sqlalchemy import Connection, func, inspect, select, text

from jesse_mcp.adapters.storage.paper_tables import PAPER_TABLES
from jesse_mcp.adapters.storage.tables import (
    failures,
    job_notices,
    jobs,
    metadata,
    run_labels,
    runs,
    schema_version,
    trials,
)

Migration = Callable[[Connection], None]


def runs_and_jobs(connection: Connection) -> None:
    metadata.create_all(connection, tables=[runs, run_labels, jobs])


def trial_ledger(connection: Connection) -> None:
    metadata.create_all(connection, tables=[trials])


def job_results(connection: Connection) -> None:
    if not any(column["name"] == "result" for column in inspect(connection).get_columns(jobs.name)):
        connection.execute(text("ALTER TABLE jobs ADD COLUMN result TEXT"))


def failed_runs(connection: Connection) -> None:
    metadata.create_all(connection, tables=[failures])


def code_shapes(connection: Connection) -> None:
    # Trials of before have none, and are related by the names of their strategies alone.
    if not any(column["name"] == "code_shape" for column in inspect(connection).get_columns(trials.name)):
        connection.execute(text("ALTER TABLE trials ADD COLUMN code_shape VARCHAR(64)"))
    for index in trials.indexes:
        index.create(connection, checkfirst=True)


def strategy_shapes(connection: Connection) -> None:
    columns = inspect(connection).get_columns(trials.name)
    if not any(column["name"] == "strategy_shapes" for column in columns):
        connection.execute(text("ALTER TABLE trials ADD COLUMN strategy_shapes TEXT"))


def paper_sessions(connection: Connection) -> None:
    metadata.create_all(connection, tables=list(PAPER_TABLES))


def notices_of_jobs(connection: Connection) -> None:
    # Jobs of before have ended without a notice, and nobody is told of them.
    if not any(column["name"] == "tool" for column in inspect(connection).get_columns(jobs.name)):
        connection.execute(text("ALTER TABLE jobs ADD COLUMN tool TEXT"))
    metadata.create_all(connection, tables=[job_notices])


MIGRATIONS: tuple[Migration, ...] = (
    runs_and_jobs,
    trial_ledger,
    job_results,
    failed_runs,
    code_shapes,
    strategy_shapes,
    paper_sessions,
    notices_of_jobs,
)


def version_of(connection: Connection) -> int:
    """The number of steps applied; 0 for an empty database."""
    if not inspect(connection).has_table(schema_version.name):
        return 0
    return connection.execute(select(func.max(schema_version.c.version))).scalar() or 0


def apply(connection: Connection, steps: tuple[Migration, ...]) -> None:
    """Run the steps that are missing, inside the transaction of ``connection``."""
    applied = version_of(connection)
    schema_version.create(connection, checkfirst=True)
    for version, step in enumerate(steps[applied:], start=applied + 1):
        step(connection)
        connection.execute(schema_version.insert().values(version=version))
