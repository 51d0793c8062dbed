"""What is searched, and what is refused before anything runs."""

from typing import Any

import pytest

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.search import Dimension, size_of
from jesse_mcp.domain.strategies import HyperparameterInfo
from jesse_mcp.services.objectives import METRICS, Objective, parse_objectives
from jesse_mcp.services.search_space import Range, beyond, space_of, union

PERIOD = HyperparameterInfo(name="period", type="int", min=5, max=50, default=20)
WIDTH = HyperparameterInfo(name="width", type="float", min=0.5, max=4, step=0.5, default=2.0)
MODE = HyperparameterInfo(name="mode", type="categorical", options=("slow", "fast"), default="slow")
SHORTS = HyperparameterInfo(name="shorts", type="bool", default=True)
LABEL = HyperparameterInfo(name="label", type="str", default="x")
DECLARED = (PERIOD, WIDTH, MODE, SHORTS, LABEL)


def ranges(space: dict[str, dict[str, Any]]) -> dict[str, Range]:
    return {name: Range(**part) for name, part in space.items()}


def test_by_default_everything_declared_with_a_range_is_searched() -> None:
    assert space_of(DECLARED, {}, None) == (
        Dimension(name="period", type="int", low=5, high=50, step=1),
        Dimension(name="width", type="float", low=0.5, high=4, step=0.5),
        Dimension(name="mode", type="choice", options=("slow", "fast")),
        Dimension(name="shorts", type="choice", options=(False, True)),
    )


def test_what_has_a_value_is_not_searched() -> None:
    names = [dimension.name for dimension in space_of(DECLARED, {"mode": "fast", "label": "y"}, None)]
    assert names == ["period", "width", "shorts"]


def test_a_space_narrows_what_is_declared_to_what_it_names() -> None:
    space = space_of(DECLARED, {}, ranges({"width": {"max": 2}, "mode": {"options": ["fast"]}}))
    assert space == (
        Dimension(name="width", type="float", low=0.5, high=2, step=0.5),
        Dimension(name="mode", type="choice", options=("fast",)),
    )
    assert size_of(space) == 4
    assert beyond(DECLARED, space) == ()


def test_a_range_beyond_the_declared_one_is_searched_and_named() -> None:
    space = space_of(DECLARED, {}, ranges({"period": {"max": 80, "step": 5}}))
    assert space == (Dimension(name="period", type="int", low=5, high=80, step=5),)
    assert beyond(DECLARED, space) == ("period 5 to 80 (declared 5 to 50)",)
    options = space_of(DECLARED, {}, ranges({"period": {"options": [10, 500]}}))
    assert beyond(DECLARED, options) == ("period 10 | 500 (declared 5 to 50)",)


def test_without_a_readable_declaration_the_space_says_everything() -> None:
    space = space_of(None, {"anything": 1}, ranges({"a": {"min": 1, "max": 9}, "b": {"min": 0.5, "max": 1}}))
    assert [(dimension.type, dimension.step) for dimension in space] == [("int", 1), ("float", None)]


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({}, "empty"),
        ({"perod": {"min": 1, "max": 2}}, "'perod'"),
        ({"period": {"min": 9, "max": 8}}, "period has min 9 above max 8"),
        ({"period": {"min": 60}}, "period has min 60 above max 50"),
        ({"period": {"step": 0}}, "period has a step of 0"),
        ({"width": {"step": -1}}, "width has a step of -1"),
        ({"period": {"step": 0.5}}, "period has 0.5 in its range, but takes whole numbers"),
        ({"width": {"step": 1e-12}}, "more than 1e9 steps"),
        ({"period": {"min": -1e308, "max": 1e308}}, "period has -1e+308 in its range"),
        ({"width": {"min": -1e308, "max": 1e308}}, "width has -1e+308 in its range"),
        ({"width": {"max": 1.1e15}}, "width has 1.1e+15 in its range"),
        ({"width": {"step": 1e300}}, "width has 1e+300 in its range"),
        ({"mode": {"options": []}}, "mode has no options"),
        ({"mode": {"options": ["fast", "fast"]}}, "mode has an option twice"),
        ({"mode": {"options": ["medium"]}}, "mode has the option 'medium'"),
        ({"mode": {"min": 1, "max": 2}}, "mode has a range, but it has options"),
        ({"period": {"options": [5, 7.5]}}, "period has the option 7.5"),
        ({"shorts": {"options": [1]}}, "shorts has the option 1"),
        ({"period": {"options": [5], "max": 6}}, "both a range and options"),
        ({"label": {}}, "label has no range"),
    ],
)
def test_what_cannot_be_searched_is_named(space: dict[str, dict[str, Any]], says: str) -> None:
    with pytest.raises(ResearchError) as caught:
        space_of(DECLARED, {}, ranges(space))
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert says in caught.value.message
    assert caught.value.hint


def test_names_are_checked_and_listed() -> None:
    with pytest.raises(ResearchError) as caught:
        space_of(DECLARED, {"perid": 3}, None)
    assert "'perid'" in caught.value.message
    assert caught.value.hint == "there are: period, width, mode, shorts, label"
    with pytest.raises(ResearchError, match="fixed value too"):
        space_of(DECLARED, {"period": 3}, ranges({"period": {}}))
    with pytest.raises(ResearchError, match="nothing to search"):
        space_of((LABEL,), {}, None)
    with pytest.raises(ResearchError, match="computes its hyperparameters"):
        space_of(None, {}, None)


def test_strategies_of_one_run_share_their_hyperparameters() -> None:
    assert union({"A": (PERIOD,), "B": (PERIOD, WIDTH)}) == (PERIOD, WIDTH)
    assert union({"A": (PERIOD,), "B": None}) is None
    other = PERIOD.model_copy(update={"max": 60})
    with pytest.raises(ResearchError, match="period is declared differently by A and B"):
        union({"A": (PERIOD,), "B": (other,)})


def test_metrics_have_directions() -> None:
    assert parse_objectives(("sharpe_ratio", "fee")) == (
        Objective("sharpe_ratio", True),
        Objective("fee", False),
    )
    assert parse_objectives(("total:min",)) == (Objective("total", False),)
    assert [objective.text for objective in parse_objectives(("max_drawdown",))] == ["max_drawdown:max"]
    for name in METRICS:
        assert parse_objectives((f"{name}:min",))[0].maximize is False


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ((), "0 metrics"),
        (("fee", "win_rate", "total:max"), "3 metrics"),
        (("fee", "fee:max"), "fee was given twice"),
        (("sharpe",), "no metric 'sharpe'"),
        (("total",), "neither good nor bad"),
        (("fee:down",), "'down'"),
        (("annualization:max",), "no metric"),
    ],
)
def test_metrics_that_do_not_exist_are_refused(metrics: tuple[str, ...], says: str) -> None:
    with pytest.raises(ResearchError) as caught:
        parse_objectives(metrics)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert says in caught.value.message
