"""``jesse-mcp candles`` as a user calls it: arguments in, text and exit status out."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jesse_mcp.adapters.candles.parquet_store import ParquetCandleStore
from jesse_mcp.analytics.synthetic import synthetic_candles
from jesse_mcp.cli import main as cli
from jesse_mcp.domain.candles import SeriesKey

START = 1_672_531_200_000
SERIES = ["--exchange", "Binance Spot", "--symbol", "BTC-USDT"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JESSE_MCP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path / "home"


class Terminal:
    """Runs the real command line in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.errors = ""

    def __call__(self, *arguments: str, status: int = 0) -> str:
        self._monkeypatch.setattr("sys.argv", ["jesse-mcp", "candles", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, self.errors = self._capsys.readouterr()
        assert ended.value.code == status, self.errors
        return out


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


@pytest.fixture
def file(tmp_path: Path) -> str:
    rows = np.delete(synthetic_candles(START, 2 * 1_440, 1), [30, 31], axis=0)
    schema = ["timestamp", "open", "close", "high", "low", "volume"]
    pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        pl.col("timestamp").cast(pl.Int64)
    ).write_csv(tmp_path / "btc.csv")
    return str(tmp_path / "btc.csv")


def test_import_list_check_delete(terminal: Terminal, file: str, home: Path) -> None:
    imported = terminal("import", file, *SERIES)
    assert "2,878" in imported
    assert "2 in 1 gaps" in imported
    assert "2023-01-01T00:31Z" in imported
    assert (home / "candles" / "binance-spot" / "BTC-USDT.parquet").exists()

    listed = terminal("list", "--start-date", "2023-01-01", "--end-date", "2023-01-02")
    assert "BTC-USDT" in listed
    assert "1,438 of 1,440" in listed

    checked = terminal("check", *SERIES, status=1)
    assert "2,878 of 2,880 minutes, 1 gaps" in checked
    assert terminal("check", *SERIES, "--start-date", "2023-01-02", "--end-date", "2023-01-03")

    assert "1,438 candles of BTC-USDT on Binance Spot deleted, 1,440 remain" in terminal(
        "delete", *SERIES, "--end-date", "2023-01-02", "--yes"
    )
    terminal("delete", *SERIES, "--yes")
    assert "0 series" in terminal("list")


def test_gaps_by_kind_and_suspicious_candles(terminal: Terminal, home: Path) -> None:
    rows = synthetic_candles(START, 2 * 1_440, 1)
    rows[200:240, 1:5] = rows[200, 2]
    rows[1_000, 1:5] *= 1.1
    store = ParquetCandleStore(home / "candles")
    key = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
    store.write(key, np.delete(rows, slice(30, 40), axis=0)[:500], "file")
    answered = (START + 500 * 60_000, START + 2 * 1_440 * 60_000)
    store.append(key, np.delete(rows[500:], slice(1_500, 1_520), axis=0), "exchange", answered)

    checked = terminal("check", *SERIES, status=1)
    assert "missing: not asked 10, outage 20" in checked
    assert "not asked" in checked.split("longest gaps")[1]
    assert "frozen prices (1 with volume)" in checked
    assert "2023-01-01T03:20Z (40 min)" in checked
    assert "spikes that revert" in checked
    assert "no volume" not in checked
    assert "outage 20" in terminal("list")
    quality = json.loads(terminal("check", *SERIES, "--json", status=1))["quality"]
    assert (quality["spikes"]["count"], quality["outliers"]["count"]) == (1, 2)
    part = terminal("check", *SERIES, "--start-date", "2023-01-01", "--end-date", "2023-01-02", status=1)
    assert "missing: not asked 10\n" in part


def test_a_clean_series_says_so(terminal: Terminal, home: Path) -> None:
    key = SeriesKey(exchange="Binance Spot", symbol="BTC-USDT")
    ParquetCandleStore(home / "candles").write(key, synthetic_candles(START, 1_440, 1), "file")
    assert "nothing suspicious about the candles" in terminal("check", *SERIES)


def test_json(terminal: Terminal, file: str) -> None:
    assert json.loads(terminal("import", file, *SERIES, "--json"))["added"] == 2_878
    assert json.loads(terminal("list", "--json"))["series"][0]["rows"] == 2_878
    assert json.loads(terminal("check", *SERIES, "--json", status=1))["coverage"]["gap_count"] == 1
    assert json.loads(terminal("delete", *SERIES, "--yes", "--json")) == {
        "exchange": "Binance Spot",
        "symbol": "BTC-USDT",
        "deleted": 2_878,
        "remaining": 0,
    }


def test_a_bad_file_is_two_lines_and_status_1(terminal: Terminal, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("timestamp,open,high,low,close,volume\n1672531200000,1,2,3,4,5\n")
    assert terminal("import", str(bad), *SERIES, status=1) == ""
    assert terminal.errors.splitlines() == [
        "candles_invalid: bad.csv: 1 bad row, the first is row 2: "
        "high 2.0 is below the open 1.0 or the close 4.0",
        "correct the rows named, then repeat the call; nothing was stored",
    ]


def test_deleting_asks_and_without_a_terminal_refuses(terminal: Terminal, file: str) -> None:
    terminal("import", file, *SERIES)
    terminal("delete", *SERIES, status=1)
    assert "add --yes" in terminal.errors
    assert "2,878" in terminal("list")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["import", "/nowhere.csv", *SERIES], "invalid_argument: path is '/nowhere.csv': No such file"),
        (["check", *SERIES], "series_not_found: no candles of BTC-USDT on Binance Spot"),
        (["delete", *SERIES, "--yes"], "series_not_found"),
        (["list", "--start-date", "2023-01-01"], "give both for the coverage of a range"),
    ],
)
def test_errors(terminal: Terminal, arguments: list[str], says: str) -> None:
    terminal(*arguments, status=1)
    assert says in terminal.errors
