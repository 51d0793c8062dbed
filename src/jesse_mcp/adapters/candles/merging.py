"""Laying new candles over old ones."""

import numpy as np

from jesse_mcp.domain.candles import TIMESTAMP, CandleArray, WriteReport


def merge(old: CandleArray, new: CandleArray) -> tuple[CandleArray, WriteReport]:
    """Both arrays as one, ascending; where a minute is in both, ``new`` wins.

    Both are (n, 6), ascending and without repeated timestamps.
    """
    stored, arriving = old[:, TIMESTAMP], new[:, TIMESTAMP]
    positions = np.searchsorted(stored, arriving)
    known = np.zeros(len(new), dtype=bool)
    inside = positions < len(old)
    known[inside] = stored[positions[inside]] == arriving[inside]
    targets = positions[known]
    changed = (old[targets] != new[known]).any(axis=1)
    overlaid = old.copy()
    overlaid[targets] = new[known]
    merged = np.insert(overlaid, positions[~known], new[~known], axis=0)
    replaced = int(changed.sum())
    return merged, WriteReport(
        added=int((~known).sum()), replaced=replaced, unchanged=int(known.sum()) - replaced
    )


def flatten(layers: list[CandleArray]) -> CandleArray:
    """Layers (n, 6) in the order they were laid, as one, ascending: of each minute the latest row."""
    rows = np.concatenate([np.empty((0, 6)), *layers])
    order = np.argsort(rows[:, TIMESTAMP], kind="stable")
    moments = rows[order, TIMESTAMP]
    latest = np.append(moments[1:] != moments[:-1], np.ones(min(1, len(moments)), dtype=bool))
    return np.asarray(rows[order[latest]])


def within(candles: CandleArray, start_ms: int | None, end_ms: int | None) -> slice:
    """The rows of ascending candles that are in ``[start_ms, end_ms)``; ``None`` is no bound."""
    timestamps = candles[:, TIMESTAMP]
    low = 0 if start_ms is None else int(np.searchsorted(timestamps, start_ms))
    high = len(candles) if end_ms is None else int(np.searchsorted(timestamps, end_ms))
    return slice(low, max(low, high))
