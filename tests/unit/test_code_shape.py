"""Copies of a strategy have one shape, other strategies have another."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jesse_mcp.domain.code_shape import code_shape, strategy_shapes

TREND = '''
from jesse.strategies import Strategy
import jesse.indicators as ta


class Trend(Strategy):
    """Follows."""

    slow = 50

    def hyperparameters(self):
        return [{"name": "fast", "type": int, "default": 20}]

    @property
    def average(self):
        return ta.ema(self.candles, self.hp["fast"])

    def should_long(self):
        price = self.price  # the last close
        for step in range(3):
            if price > self.average + step * 0.5:
                return True
        return False

    def go_long(self):
        quantity = self.balance / 2
        self.buy = quantity, self.price
'''


def shape(name: str, code: str, **more: str) -> str:
    return code_shape({f"strategies/{name}/__init__.py": code, "strategies/__init__.py": "", **more})


SAME = {
    "class": TREND.replace("Trend", "Genius"),
    "comments": TREND.replace("  # the last close", "").replace('    """Follows."""\n', "    # better\n"),
    "numbers": TREND.replace("20", "21").replace("0.5", "-0.75").replace("50", "1_000"),
    "layout": TREND.replace(
        "self.buy = quantity, self.price", "self.buy = (\n            quantity, self.price)"
    ),
    "variables": TREND.replace("quantity", "much").replace("price =", "p =").replace("if price", "if p"),
    "constants": TREND.replace("slow", "long_period"),
    "alias": TREND.replace("as ta", "as indicators").replace("ta.ema", "indicators.ema"),
    "argument": TREND.replace("self", "this"),
    "annotations": TREND.replace("(self):", "(self) -> object:").replace("slow =", "slow: int ="),
    "order": TREND.replace(
        "from jesse.strategies import Strategy\nimport jesse.indicators as ta",
        "import jesse.indicators as ta\nfrom jesse.strategies import Strategy",
    ),
    "line ends": TREND.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + TREND,
    "pass": TREND.replace("    slow = 50\n", "    slow = 50\n    pass\n"),
}
OTHER = {
    "indicator": TREND.replace("ta.ema", "ta.sma"),
    "direction": TREND.replace("price > self", "price < self"),
    "side": TREND.replace("self.buy", "self.sell"),
    "hook": TREND.replace("should_long", "should_short"),
    "string": TREND.replace('"fast"', '"slow"'),
    "operation": TREND.replace("balance / 2", "balance * 2"),
    "truth": TREND.replace("return True", "return False"),
    "condition": TREND.replace("if price >", "if not price >"),
}


@pytest.mark.parametrize("change", SAME)
def test_a_copy_has_the_same_shape(change: str) -> None:
    assert SAME[change] != TREND
    assert shape("Genius", SAME[change]) == shape("Trend", TREND)


@pytest.mark.parametrize("change", OTHER)
def test_another_strategy_has_another_shape(change: str) -> None:
    assert OTHER[change] != TREND
    assert shape("Trend", OTHER[change]) != shape("Trend", TREND)


def test_methods_in_another_order_are_the_same() -> None:
    head, average, rest = TREND.partition("    @property")
    body, go_long, tail = (average + rest).partition("    def go_long")
    assert shape("Trend", head + go_long + tail + "\n" + body) == shape("Trend", TREND)


def test_a_reference_to_a_strategy_by_its_name_is_no_difference() -> None:
    child = "from strategies.Trend import Trend\n\n\nclass Child(Trend):\n    source = 'Trend'\n"
    one = code_shape({"strategies/Trend/__init__.py": TREND, "strategies/Child/__init__.py": child})
    renamed = code_shape(
        {
            "strategies/Best/__init__.py": TREND.replace("Trend", "Best"),
            "strategies/Kid/__init__.py": child.replace("Trend", "Best").replace("Child", "Kid"),
        }
    )
    assert one == renamed


def test_helper_modules_count_and_tables_do_not() -> None:
    alone = shape("Trend", TREND)
    assert shape("Trend", TREND, **{"helpers.py": "def f(x):\n    return x + 1\n"}) != alone
    assert shape("Trend", TREND, **{"strategies/Trend/table.csv": "1,2"}) == alone
    assert shape("Trend", TREND, **{"strategies/Trend/empty.py": "\n"}) == alone


def test_a_strategy_has_its_shape_in_any_company() -> None:
    trend = {"strategies/__init__.py": "", "strategies/Trend/__init__.py": TREND}
    other = {"strategies/Nothing/__init__.py": "class Nothing:\n    x = 1\n"}
    alone = strategy_shapes(trend, ["Trend"])
    assert alone == {"Trend": code_shape(trend)}
    assert strategy_shapes(trend | other, ["Trend", "Nothing", "Missing"]) == alone | strategy_shapes(
        other, ["Nothing"]
    )
    copy = {"strategies/Copy/__init__.py": TREND.replace("Trend", "Copy")}
    assert strategy_shapes(copy | other, ["Copy"])["Copy"] == alone["Trend"]


def test_an_imported_helper_is_part_of_a_shape_and_links_nothing() -> None:
    helpers = {
        "strategies/Base/__init__.py": TREND.replace("Trend", "Base"),
        "strategies/Rest/__init__.py": OTHER["side"].replace("Trend", "Rest"),
    }
    thin = "from strategies.Base import Base\n\n\nclass One(Base):\n    pass\n"
    files = helpers | {
        "strategies/One/__init__.py": thin,
        "strategies/Two/__init__.py": thin.replace("Base", "Rest").replace("One", "Two"),
        "strategies/Three/__init__.py": thin.replace("One", "Three").replace("pass", "def f(self): return 1"),
        "strategies/Four/__init__.py": thin.replace("One", "Four"),
    }
    found = strategy_shapes(files, ["One", "Two", "Three", "Four", "Base"])
    assert len(set(found.values())) == 4
    assert found["One"] == found["Four"]


def test_what_cannot_be_parsed_has_the_shape_of_its_text() -> None:
    assert shape("Trend", "class (") == shape("Other", "class (")
    assert shape("Trend", "class (") != shape("Trend", "class [")
    assert shape("Trend", "x = " + "-" * 20 * sys.getrecursionlimit() + "1")


@given(st.dictionaries(st.text(), st.text(), max_size=3))
def test_any_files_have_a_shape(files: dict[str, str]) -> None:
    found = code_shape(files)
    assert len(found) == 64
    assert code_shape(dict(reversed(files.items()))) == found
