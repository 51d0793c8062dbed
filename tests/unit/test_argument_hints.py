"""A refused argument is answered with the names that are taken where it was given."""

from typing import Any, cast

import pytest
from fastmcp import Client, FastMCP

from jesse_mcp.composition import Application
from jesse_mcp.domain.errors import ResearchError
from jesse_mcp.server import campaign_tools
from jesse_mcp.server.errors import ErrorMiddleware
from jesse_mcp.services.objectives import parse_objectives


@pytest.mark.parametrize(
    ("tool", "arguments", "hint"),
    [
        ("backtest_batch", {"leverage": 2}, "leverage is an argument of backtest: put it in settings={"),
        ("optimize", {"fee": 0}, "fee is an argument of backtest: put it in settings={"),
        (
            "backtest_batch",
            {"vary": {"timeframe": ["1h"]}},
            "did you mean 'timeframes'? vary takes: strategies, symbols, timeframes, periods, ",
        ),
        (
            "backtest_batch",
            {"vary": {"periods": [{"start": "2024-01-01"}]}},
            "vary.periods.0 takes: start_date, end_date",
        ),
        ("optimize", {"space": {"period": {"low": 1}}}, "space.period takes: min, max, step, options"),
        ("walk_forward", {"metrics": ["sharpe_ratio"]}, "did you mean 'metric'? correct it and call"),
        ("optimize", {"metric": "sharpe_ratio"}, "did you mean 'metrics'? correct it and call"),
        ("optimize", {"qqq": 1}, "correct it and call optimize again; its arguments are: exchange, "),
        ("optimize", {"trials": "many"}, "correct it and call optimize again"),
        ("optimize", {"metrics": [1]}, "correct it and call optimize again"),
    ],
)
async def test_the_hint_names_what_is_taken(tool: str, arguments: dict[str, Any], hint: str) -> None:
    server = FastMCP("test", middleware=[ErrorMiddleware()])
    # Arguments are refused before a tool is called: nothing of it is needed.
    campaign_tools.register(server, cast(Application, None))
    async with Client(server) as client:
        result = await client.call_tool(tool, arguments, raise_on_error=False)
    assert result.structured_content is not None
    assert result.structured_content["error"]["hint"].startswith(hint)


async def test_a_column_that_cannot_be_is_refused_before_anything_is_run() -> None:
    server = FastMCP("test", middleware=[ErrorMiddleware()])
    campaign_tools.register(server, cast(Application, None))
    async with Client(server) as client:
        arguments = {"sort_by": "sharpe", "cells": [{}]}
        result = await client.call_tool("backtest_batch", arguments, raise_on_error=False)
    assert result.structured_content is not None
    assert result.structured_content["error"]["hint"].startswith("did you mean 'sharpe_ratio'?")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("sharpe", "sharpe_ratio"),
        ("Sortino", "sortino_ratio"),
        ("net_profit_percent", "net_profit_percentage"),
        ("shape_ratio", "sharpe_ratio"),
        ("smart", "smart_sharpe"),
    ],
)
def test_a_metric_cut_short_is_meant_as_it_begins(name: str, meant: str) -> None:
    with pytest.raises(ResearchError) as caught:
        parse_objectives((name,))
    assert str(caught.value.hint).startswith(f"did you mean {meant!r}?")


def test_nothing_is_made_of_no_name() -> None:
    with pytest.raises(ResearchError) as caught:
        parse_objectives(("",))
    assert "did you mean" not in str(caught.value.hint)
