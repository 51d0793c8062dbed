"""Candles that Jesse wrote to a file, and when they are not what they should be."""

import csv
import io
from typing import Any, cast

import numpy as np
import pytest

from jesse_mcp.adapters.dashboard.candle_export import EXPORT, exported
from jesse_mcp.adapters.dashboard.client import DashboardClient
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.errors import ErrorCode, ResearchError

KEY = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
HEADER = "timestamp,open,close,high,low,volume\n"


class Jesse:
    """A client of a Jesse that writes this text when it is asked for candles."""

    def __init__(self, text: str, count: int | None = None, fails: str = "") -> None:
        self._text = text
        self._count = text.count("\n") - 1 if count is None else count
        self._fails = fails
        self.files: dict[str, str] = {}

    def post(self, path: str, body: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        assert patience is None or patience > 60
        if path == self._fails:
            raise ResearchError(ErrorCode.JESSE_UNREACHABLE, "the connection broke")
        match path:
            case "/candles/export-to-project":
                if not self._text:
                    raise ResearchError(ErrorCode.JESSE_FAILED, "none", details={"status": 404})
                self.files[body["path"]] = self._text
                return {"row_count": self._count}
            case "/project-files/write":
                self.files[body["path"]] = body["content"]
            case "/project-files/move":
                self.files[body["destination"]] = self.files.pop(body["source"])
            case "/strategy/get":
                return {"content": self.files[f"strategies/{body['name']}/__init__.py"]}
            case "/project-files/delete":
                gone = [name for name in self.files if f"{name}/".startswith(f"{body['path']}/")]
                if not gone:
                    raise ResearchError(ErrorCode.JESSE_FAILED, "no file", details={"status": 404})
                for name in gone:
                    del self.files[name]
            case _:
                raise AssertionError(path)
        return {}


def read(jesse: Jesse) -> CandleArray:
    return exported(cast(DashboardClient, jesse), KEY)


def written(rows: CandleArray) -> str:
    """As Jesse writes float4 columns: the driver's floats through Python's csv module."""
    text = io.StringIO()
    lines = [[int(row[0]), *(float(str(np.float32(value))) for value in row[1:])] for row in rows]
    csv.writer(text, lineterminator="\n").writerows(lines)
    return HEADER + text.getvalue()


@pytest.mark.parametrize("seed", range(5))
def test_every_number_arrives(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = np.empty((300, 6))
    rows[:, 0] = 1_704_067_200_000 + 60_000 * np.arange(300)
    # From far below a cent to far above any price: some are written with an exponent.
    rows[:, 1:] = 10.0 ** generator.uniform(-12, 20, (300, 5))
    jesse = Jesse(written(rows))
    expected = [[float(field) for field in line.split(",")] for line in written(rows).splitlines()[1:]]
    np.testing.assert_array_equal(read(jesse), expected)
    assert jesse.files == {}


def test_a_series_that_is_not_there() -> None:
    assert read(Jesse("")).shape == (0, 6)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("timestamp,open,high,low,close,volume\n1704067200000,1,1,1,1,1\n", 1),
        ("<html>\n", 1),
        (HEADER + "1704067200000,1,1,1,1,1\n1704067260000,1,1", 2),
        (HEADER + "1704067200000,1,1,1,1\n", 1),
        (HEADER + "1704067200000,1,1,,1,1\n", 1),
        (HEADER + "1704067200000,1,1,1,1,one\n", 1),
        (HEADER + "1704067200000,1,1,1,1,1\n", 2),
    ],
)
def test_another_table_is_not_taken_for_candles(text: str, count: int) -> None:
    jesse = Jesse(text, count)
    with pytest.raises(ResearchError) as caught:
        read(jesse)
    assert caught.value.code is ErrorCode.JESSE_UNSUPPORTED
    assert jesse.files == {}


@pytest.mark.parametrize("path", [EXPORT, "/project-files/write", "/project-files/move", "/strategy/get"])
def test_what_is_broken_off_leaves_nothing_in_the_project(path: str) -> None:
    jesse = Jesse(HEADER + "1704067200000,1,1,1,1,1\n", fails=path)
    with pytest.raises(ResearchError) as caught:
        read(jesse)
    assert caught.value.code is ErrorCode.JESSE_UNREACHABLE
    assert jesse.files == {}
