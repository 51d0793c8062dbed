"""Searches as functions of what they are told."""

import math
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jesse_mcp.adapters.search import optuna_search as module
from jesse_mcp.adapters.search.optuna_search import OptunaSearchMethods
from jesse_mcp.domain.search import (
    Dimension,
    Point,
    SamplerName,
    SearchSetup,
    Space,
    Told,
    point_at,
    size_of,
)

WHOLE = Dimension(name="whole", type="int", low=1, high=20, step=1)
STEPS = Dimension(name="steps", type="float", low=0.05, high=0.95, step=0.05)
CHOICE = Dimension(name="choice", type="choice", options=("a", True, 1))
SMOOTH = Dimension(name="smooth", type="float", low=-1, high=1)
NUMBERS: Space = (WHOLE, STEPS)
EVERYTHING: Space = (WHOLE, STEPS, CHOICE, SMOOTH)
SAMPLERS: list[SamplerName] = ["tpe", "random", "grid", "cmaes", "nsga2"]

Judge = Callable[[int, Point], Told]


def number(point: Point, name: str) -> float:
    return float(point[name])


def worth(_: int, point: Point) -> Told:
    value = -((number(point, "whole") - 7) ** 2) - 100 * (number(point, "steps") - 0.3) ** 2
    return Told(state="complete", values=(value,))


def proposals(
    sampler: SamplerName,
    space: Space,
    judge: Judge = worth,
    trials: int = 60,
    seed: int = 1,
    ahead: int = 4,
    metrics: int = 1,
) -> list[Point]:
    setup = SearchSetup(space=space, maximize=(True,) * metrics, sampler=sampler, seed=seed, trials=trials)
    search = OptunaSearchMethods().open(setup)
    points: list[Point] = []
    while len(points) < trials:
        if len(points) >= ahead:
            told = len(points) - ahead
            search.tell(told, judge(told, points[told]))
        point = search.ask()
        if point is None:
            break
        points.append(point)
    return points


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_calls_give_the_same_points(sampler: SamplerName) -> None:
    first, again = proposals(sampler, NUMBERS), proposals(sampler, NUMBERS)
    assert [repr(point) for point in first] == [repr(point) for point in again]
    assert proposals(sampler, NUMBERS, seed=2) != first
    assert len({repr(point) for point in first}) == 60, "no point twice"


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2"])
def test_what_is_told_is_learnt_from(sampler: SamplerName) -> None:
    found = proposals(sampler, (WHOLE, SMOOTH), _near_seven, trials=120)
    late = [_near_seven(0, point).values[0] for point in found[-40:]]
    blindly = proposals("random", (WHOLE, SMOOTH), _near_seven, trials=120)
    blind = [_near_seven(0, p).values[0] for p in blindly[-40:]]
    assert sorted(late)[20] > sorted(blind)[20]


def _near_seven(_: int, point: Point) -> Told:
    return Told(state="complete", values=(-abs(number(point, "whole") - 7) - abs(number(point, "smooth")),))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_is_left_when_every_point_was_proposed(sampler: SamplerName) -> None:
    space = (WHOLE, Dimension(name="steps", type="float", low=0.1, high=0.3, step=0.1))
    found = proposals(sampler, space, trials=100)
    assert {repr(point) for point in found} == {repr(point_at(space, index)) for index in range(60)}
    assert len(found) == 60


def test_a_grid_larger_than_the_trials_is_a_sample_of_it() -> None:
    space = (WHOLE, STEPS, CHOICE)
    assert size_of(space) == 20 * 19 * 3
    found = proposals("grid", space, trials=50)
    assert len({repr(point) for point in found}) == 50
    assert len({point["whole"] for point in found}) > 10
    with pytest.raises(ValueError, match="continuous"):
        proposals("grid", EVERYTHING)


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_values_are_exact_and_inside(sampler: SamplerName) -> None:
    for point in proposals(sampler, EVERYTHING):
        assert list(point) == ["whole", "steps", "choice", "smooth"]
        assert type(point["whole"]) is int
        assert 1 <= point["whole"] <= 20
        assert type(point["steps"]) is float
        assert point["steps"] == round(number(point, "steps"), 2)
        assert any(point["choice"] is option for option in ("a", True, 1))
        assert type(point["smooth"]) is float
        assert -1 <= point["smooth"] <= 1


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_infeasible_trials_are_kept_away_from(sampler: SamplerName) -> None:
    """The objective draws to 20, where no trial is feasible."""

    def judge(_: int, point: Point) -> Told:
        whole = number(point, "whole")
        if whole > 8:
            return Told(state="complete", violation=whole - 8)
        return Told(state="complete", values=(whole,))

    late = proposals(sampler, (WHOLE, SMOOTH), judge, trials=300)[-60:]
    # The border is where the best ones are, so just beyond it they do look.
    assert sum(number(point, "whole") > 12 for point in late) < 20, (
        "blind would be 24, drawn by the objective nearly all"
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_failed_pruned_and_infeasible_trials_break_no_sampler(sampler: SamplerName) -> None:
    def judge(trial: int, point: Point) -> Told:
        match trial % 4:
            case 0:
                return Told(state="failed")
            case 1:
                return Told(state="pruned", slices=((0.25, -3.0), (0.5, 1e300)))
            case 2:
                return Told(state="complete", violation=2.0)
        return worth(trial, point)

    first, again = proposals(sampler, NUMBERS, judge), proposals(sampler, NUMBERS, judge)
    assert first == again
    assert len(first) == 60


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_two_metrics(sampler: SamplerName) -> None:
    def judge(_: int, point: Point) -> Told:
        whole = number(point, "whole")
        return Told(state="complete", values=(whole, -whole * number(point, "steps")))

    assert len(proposals(sampler, NUMBERS, judge, metrics=2)) == 60


def test_importance_tells_the_hyperparameter_that_matters() -> None:
    points = proposals("random", EVERYTHING, trials=200)
    values = [-abs(number(point, "whole") - 7) for point in points]
    methods = OptunaSearchMethods()
    shares = methods.importance(EVERYTHING, points, values, maximize=True)
    assert set(shares) == {"whole", "steps", "choice", "smooth"}
    assert math.isclose(sum(shares.values()), 1)
    assert shares["whole"] > 0.7
    turned = methods.importance(EVERYTHING, points, [-value for value in values], maximize=False)
    assert turned == shares


def test_importance_says_why_it_has_none() -> None:
    methods = OptunaSearchMethods()
    points = proposals("random", EVERYTHING, trials=30)
    with pytest.raises(ValueError, match="19 trials"):
        methods.importance(EVERYTHING, points[:19], [1.0] * 19, maximize=True)
    with pytest.raises(ValueError, match="the same value"):
        methods.importance(EVERYTHING, points, [1.0] * 30, maximize=True)


@settings(max_examples=200)
@given(
    st.decimals(-1000, 1000, places=3),
    st.integers(0, 10**4),
    st.decimals("0.001", 10, places=3),
)
def test_every_value_of_a_range_in_steps_has_its_place(low: object, count: int, step: object) -> None:
    first, width = float(str(low)), float(str(step))
    dimension = Dimension(name="x", type="float", low=first, high=first + (count + 0.5) * width, step=width)
    size = dimension.size
    assert size == count + 1
    for index in (0, count // 2, count):
        value = dimension.value(index)
        assert dimension.index_of(value) == index
        assert math.isclose(float(value), first + index * width, rel_tol=1e-9, abs_tol=1e-9)


def same(_number: int, _point: Point) -> Told:
    return Told(state="complete", values=(1.0,))


def _inside(dimension: Dimension, point: Point) -> bool:
    value = point[dimension.name]
    if dimension.options is not None:
        return any(value is option for option in dimension.options)
    assert dimension.low is not None
    assert dimension.high is not None
    return dimension.low <= float(value) <= dimension.high


def _dimensions(name: str) -> st.SearchStrategy[Dimension]:
    lows = st.sampled_from([-7.5, -1.0, 0.2, 3.0, 1e-12, 1e15])
    smooth = st.builds(
        lambda low, width: Dimension(name=name, type="float", low=low, high=low + width),
        lows,
        st.sampled_from([0.0, 1e-28, 0.7, 40.0]),
    )
    steps = st.builds(
        lambda low, count: Dimension(name=name, type="float", low=low, high=low + count * 0.25, step=0.25),
        st.sampled_from([-7.5, 0.25, 3.0]),
        st.integers(0, 3),
    )
    whole = st.builds(
        lambda low, count: Dimension(name=name, type="int", low=low, high=low + count, step=1),
        st.sampled_from([-3, 2]),
        st.integers(0, 3),
    )
    choice = st.sampled_from([Dimension(name=name, type="choice", options=("a", True, 1))])
    return st.one_of(smooth, steps, whole, choice)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(SAMPLERS),
    _dimensions("a"),
    _dimensions("b"),
    st.integers(0, 99),
    st.sampled_from([0, module._ATTEMPTS]),
)
def test_every_point_lies_in_the_space_and_an_exhausted_space_ends(
    sampler: SamplerName, one: Dimension, other: Dimension, seed: int, attempts: int
) -> None:
    """Without an attempt of the sampler, every point is drawn in place of a repetition."""
    space = (one, other)
    size = size_of(space)
    if sampler == "grid" and size is None:
        sampler = "random"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ATTEMPTS", attempts)
        found = proposals(sampler, space, same, trials=40, seed=seed)
    assert all(_inside(dimension, point) for point in found for dimension in space)
    assert len({repr(point) for point in found}) == len(found), "no point twice"
    if size is not None:
        assert len(found) == min(size, 40)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_range_of_one_value_has_one_point(sampler: SamplerName) -> None:
    only = Dimension(name="y", type="float", low=0.2, high=0.2)
    assert (only.size, only.value(0), only.index_of(0.2)) == (1, 0.2, 0)
    whole = Dimension(name="x", type="int", low=5, high=5, step=1)
    assert proposals(sampler, (whole, only), same, ahead=1) == [{"x": 5, "y": 0.2}]


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "nsga2"])
def test_a_continuous_range_of_two_numbers_ends(sampler: SamplerName) -> None:
    narrow = Dimension(name="y", type="float", low=1.0, high=math.nextafter(1.0, 2))
    found = proposals(sampler, (narrow,), same, ahead=1)
    assert sorted(number(point, "y") for point in found) == [1.0, math.nextafter(1.0, 2)]


def test_the_last_points_of_a_large_space_are_found() -> None:
    space = (Dimension(name="x", type="int", low=1, high=1500, step=1),)
    found = proposals("random", space, same, trials=2000)
    assert sorted(number(point, "x") for point in found) == list(range(1, 1501))


def test_a_grid_of_more_points_than_a_machine_word_counts_is_sampled() -> None:
    space = tuple(Dimension(name=f"x{n}", type="int", low=1, high=50, step=1) for n in range(12))
    found = proposals("grid", space, same, trials=30)
    assert len({repr(point) for point in found}) == 30
    assert found == proposals("grid", space, same, trials=30)


def test_options_that_are_equal_in_python_are_told_apart() -> None:
    assert [CHOICE.index_of(option) for option in CHOICE.options or ()] == [0, 1, 2]


def test_the_server_starts_without_loading_optuna() -> None:
    code = "import sys, jesse_mcp.server.assembly; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
