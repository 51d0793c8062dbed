"""Leases of whatever table has owners."""

from collections import defaultdict

from sqlalchemy import ColumnElement, Connection, Table, and_, or_, select

from jesse_mcp.domain.leases import Gone, Leases


def leases_in(connection: Connection, table: Table, active: ColumnElement[bool]) -> Leases:
    """By owner, the leases of the active rows."""
    found: defaultdict[str, set[float]] = defaultdict(set)
    query = select(table.c.owner, table.c.lease_until).where(active).distinct()
    for owner, lease in connection.execute(query):
        found[owner].add(lease)
    return {owner: frozenset(leases) for owner, leases in found.items()}


def abandoned_by(gone: Gone, table: Table) -> ColumnElement[bool]:
    """Rows of owners that are gone. What was renewed since somebody looked is not among them."""
    silent = [
        and_(table.c.owner == owner, table.c.lease_until.in_(sorted(leases)))
        for owner, leases in sorted(gone.silent.items())
    ]
    return or_(table.c.owner.in_(sorted(gone.dead)), *silent)
