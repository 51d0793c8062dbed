"""Jesse's download, cut anywhere on its way, and when it is not what it should be."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytest

from jesse_mcp.adapters.dashboard import candle_export
from jesse_mcp.adapters.dashboard.candle_export import exported
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError

KEY = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
HEADER = b"timestamp,open,close,high,low,volume\n"


class Sends:
    """A client whose download arrives in these pieces, and may break off after them."""

    def __init__(self, pieces: list[bytes], broken: bool = False, database: bool = True) -> None:
        self._pieces = pieces
        self._broken = broken
        self._database = database

    @contextmanager
    def stream(self, _path: str, _fields: dict[str, str]) -> Iterator[Iterator[bytes]]:
        yield self._sent()

    def _sent(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._broken:
            raise ResearchError(ErrorCode.JESSE_UNREACHABLE, "the connection broke")

    def read(self, _path: str) -> dict[str, Any]:
        if not self._database:
            raise ResearchError(ErrorCode.JESSE_DATABASE, "no database")
        return {"data": []}


def read(client: Sends) -> CandleArray:
    return exported(cast(DashboardClient, client), KEY)


def written(rows: CandleArray) -> bytes:
    """As Jesse writes float4 columns: the driver's floats through Python's csv module."""
    text = io.StringIO()
    lines = [[int(row[0]), *(float(str(np.float32(value))) for value in row[1:])] for row in rows]
    csv.writer(text, lineterminator="\n").writerows(lines)
    return HEADER + text.getvalue().encode()


@pytest.mark.parametrize("seed", range(5))
def test_every_number_arrives_wherever_the_text_is_cut(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candle_export, "_BLOCK", 500)
    generator = np.random.default_rng(seed)
    rows = np.empty((300, 6))
    rows[:, 0] = 1_704_067_200_000 + 60_000 * np.arange(300)
    # From far below a cent to far above any price: some are written with an exponent.
    rows[:, 1:] = 10.0 ** generator.uniform(-12, 20, (300, 5))
    text = written(rows)
    cuts = np.sort(generator.integers(0, len(text), 40))
    pieces = [text[low:high] for low, high in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    counts: list[int] = []
    found = exported(cast(DashboardClient, Sends(pieces)), KEY, counts.append)
    expected = [[float(field) for field in line.split(b",")] for line in text.splitlines()[1:]]
    np.testing.assert_array_equal(found, expected)
    assert counts == sorted(counts)
    assert counts[-1] == 300


def test_a_series_that_is_not_there() -> None:
    assert read(Sends([HEADER])).shape == (0, 6)


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"timestamp,open,high,low,close,volume\n1704067200000,1,1,1,1,1\n"],
        [b"<html>\n"],
        [HEADER, b"1704067200000,1,1,1,1,1\n1704067260000,1,1"],
        [HEADER, b"1704067200000,1,1,1,1\n"],
        [HEADER, b"1704067200000,1,1,,1,1\n"],
        [HEADER, b"1704067200000,1,1,1,1,one\n"],
    ],
)
def test_another_table_is_not_taken_for_candles(pieces: list[bytes]) -> None:
    with pytest.raises(ResearchError) as caught:
        read(Sends(pieces))
    assert caught.value.code is ErrorCode.JESSE_UNSUPPORTED


@pytest.mark.parametrize(
    ("database", "code"), [(True, ErrorCode.JESSE_UNREACHABLE), (False, ErrorCode.JESSE_DATABASE)]
)
def test_a_download_that_breaks_off_is_no_series(database: bool, code: ErrorCode) -> None:
    whole_lines = HEADER + b"1704067200000,1,1,1,1,1\n"
    with pytest.raises(ResearchError) as caught:
        read(Sends([whole_lines], broken=True, database=database))
    assert caught.value.code is code
