"""Every tool called with whatever its own schema allows: an answer that fits, never a fault of the server."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mcp_desk import SERIES, Desk, candle_file, environment, stdio_desk, strategy
from schema_values import values
from tool_calls import REQUIRED

EXAMPLES = 25
#: Longest wait for a job; what goes on then is cancelled with the server.
PATIENCE = 0.2


@pytest.fixture(scope="module")
def desk(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("fuzz")
    with stdio_desk(environment(folder, engine_python), folder / "log") as desk:
        desk.call("candles_import", **SERIES, path=str(candle_file(folder / "btc.csv")))
        desk.call("strategy_write", name="Mine", code=strategy("Mine"))
        yield desk


def plausible(name: str, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Anything that fits; now and then something that means something."""
    known = {
        "exchange": "Binance Perpetual Futures",
        "symbol": "BTC-USDT",
        "strategy": "Mine",
        "start_date": "2024-01-03",
        "end_date": "2024-01-05",
        "timeframe": "1h",
    }
    anything = values(schema)
    return st.one_of(anything, st.just(known[name])) if name in known else anything


@pytest.mark.parametrize("tool", REQUIRED)
def test_whatever_the_schema_allows_gets_an_answer(desk: Desk, tool: str) -> None:
    schema = desk.tools[tool]["inputSchema"]
    fitting = {name: plausible(name, part) for name, part in schema["properties"].items()}
    required = schema.get("required", [])

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.fixed_dictionaries(
            {name: fitting[name] for name in required},
            optional={name: part for name, part in fitting.items() if name not in required},
        )
    )
    def call(arguments: dict[str, Any]) -> None:
        if "wait_seconds" in fitting:
            arguments["wait_seconds"] = PATIENCE
        with contextlib.suppress(UnicodeEncodeError):
            # Half a surrogate pair cannot be sent at all.
            json.dumps(arguments, ensure_ascii=False).encode()
            result = desk.result(tool, arguments)
            content = desk.checked(tool, result)
            assert content.get("error", {}).get("code") != "internal_error", (arguments, content)

    call()
    assert desk.call("system_status")
