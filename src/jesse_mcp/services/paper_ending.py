"""The end of a paper session: that of a backtest over the same minutes, kept as a run."""

import hashlib
import json

import numpy as np

from jesse_mcp.domain.backtests import EngineOutcome
from jesse_mcp.domain.identity import iso_utc, new_id
from jesse_mcp.domain.paper import STEP_MINUTES, PaperStatus
from jesse_mcp.domain.paper_records import PaperEnd, PaperSession
from jesse_mcp.domain.runs import RunRecord
from jesse_mcp.domain.timeframes import MINUTE_MS
from jesse_mcp.services.experiments import outcome_warnings
from jesse_mcp.services.paper_parts import PaperParts
from jesse_mcp.services.paper_work import PaperWork


async def ended_with(work: PaperWork, status: PaperStatus, parts: PaperParts) -> PaperEnd:
    """Close everything as Jesse does at the end of a backtest, and store the run.

    A session without a minute leaves no run.

    Raises:
        ResearchError: ``strategy_raised`` when the strategy does so at its end, ``worker_crashed``.
    """
    now = parts.clock.now_ms()
    place = work.place
    if place.through is None:
        return PaperEnd(status=status, ended_at=now)
    outcome = await work.process.finish()
    run_id = await work.stored(_kept, work.session, place.through, outcome, parts)
    return PaperEnd(
        status=status,
        ended_at=now,
        run_id=run_id,
        trades=outcome.trades[place.trades :],
        daily=tuple((point.timestamp, point.balance) for point in outcome.equity[place.daily :]),
        final_equity=outcome.equity[-1].balance if outcome.equity else None,
    )


def _kept(session: PaperSession, through: int, outcome: EngineOutcome, parts: PaperParts) -> str:
    """The id of the run. Blocks.

    Not counted in the ledger of trials: a session meets candles nobody chose it by. It is evidence, not
    another try of a search.
    """
    identity = json.dumps({"paper": session.session_id, "started_at": session.started_at})
    fingerprint = hashlib.sha256(identity.encode()).hexdigest()
    stored = parts.runs.find(fingerprint)
    if stored is not None:
        # The server died between storing the run and noting it in the session.
        return stored.run_id
    request = session.request.as_backtest(through)
    record = RunRecord(
        run_id=new_id("run"),
        kind="paper",
        created_at=iso_utc(parts.clock.now_ms() / 1000),
        fingerprint=fingerprint,
        strategies=tuple(dict.fromkeys(route.strategy for route in request.routes)),
        symbols=tuple(route.symbol for route in request.routes),
        title=f"paper session {session.session_id}",
        request=request.model_dump(mode="json"),
        code_hash=session.code_hash,
        candle_hashes=_candle_hashes(session, through, parts),
        outcome=outcome,
        warnings=session.warnings + outcome_warnings(outcome),
    )
    parts.runs.add(record)
    return record.run_id


def _candle_hashes(session: PaperSession, through: int, parts: PaperParts) -> dict[str, str]:
    """Of each series, warm-up and what was worked through: as a backtest has them of the same candles."""
    series = session.request.series
    warm_up = parts.store.setup(session.session_id).warm_up
    digests = [hashlib.sha256(rows.astype("<f8").tobytes()) for rows in warm_up]
    from_ms = session.request.start_ms
    while minutes := parts.store.logged(session.session_id, from_ms, STEP_MINUTES):
        for place, digest in enumerate(digests):
            rows = [
                (one.timestamp, *one.rows[place])
                for one in minutes
                if place in one.rows and one.closes_at <= through
            ]
            digest.update(np.array(rows, dtype="<f8").tobytes())
        from_ms = minutes[-1].timestamp + MINUTE_MS
    names = [f"{key.symbol} on {key.exchange}" for key in series]
    return {name: digest.hexdigest() for name, digest in zip(names, digests, strict=True)}
