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
