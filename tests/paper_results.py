"""What two paper sessions have to have in common to be the same one, disturbed and not."""

from typing import Any

from jesse_mcp.adapters.storage.database import Database
from jesse_mcp.adapters.storage.paper import SqlPaperStore
from jesse_mcp.adapters.storage.runs import SqlRunStore


def facts(database: Database, name: str) -> dict[str, Any]:
    """Everything a disturbance must not change, of a session that has ended with a run."""
    store = SqlPaperStore(database)
    session = store.get(name)
    run = SqlRunStore(database).get(str(session.run_id))
    return {
        "place": session.place,
        "trades": store.trades(name),
        "equity": store.equity(name).tolist(),
        "daily": store.daily(name),
        "alerts": [one.alert for one in store.alerts(name, 1000)],
        "outcome": run.outcome.model_dump(exclude={"timings", "log_tail", "engine"}),
        "candles": run.candle_hashes,
        "log": session.log_tail,
    }
