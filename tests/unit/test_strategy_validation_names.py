"""Validation: names after ``self.`` and names of the module."""

import textwrap

import pytest

from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.domain.strategies import Finding, Severity, ValidationReport
from jesse_mcp.services.validation import validate_source

CATALOG = load_catalog()
HEAD = """
import numpy as np
import jesse.indicators as ta
from jesse import utils
from jesse.strategies import Strategy, cached

"""
METHODS = """
    def should_long(self):
        return self.price > 1

    def go_long(self):
        self.buy = 1, self.price
"""


def check(code: str, name: str | None = "S") -> ValidationReport:
    return validate_source(code, CATALOG, name)


def strategy(body: str, methods: str = METHODS) -> str:
    """A valid strategy with more in it."""
    return f"{HEAD}class S(Strategy):{methods}\n{textwrap.indent(textwrap.dedent(body), '    ')}"


def found(code: str, rule: str, name: str | None = "S") -> list[Finding]:
    return [finding for finding in check(code, name).findings if finding.rule == rule]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("stop_los", "stop_loss"),
        ("stoploss", "stop_loss"),
        ("sl", "stop_loss"),
        ("take_profits", "take_profit"),
        ("takeprofit", "take_profit"),
        ("tp", "take_profit"),
        ("buys", "buy"),
    ],
)
def test_an_order_of_another_name_is_none(name: str, meant: str) -> None:
    code = strategy(f"def update_position(self): self.{name} = 1, self.price")
    (finding,) = found(code, "never-read")
    assert finding.severity is Severity.WARNING
    assert finding.message == f"nothing reads self.{name}: Jesse makes no order of it"
    assert finding.suggestion == f"assign to self.{meant}, if that is meant"


@pytest.mark.parametrize(
    "body",
    [
        "def before(self): self.stop_loss = 1, self.price",
        "def before(self): self.stop = self.price\ndef after(self): self.stop_loss = 1, self.stop",
        "def before(self):\n    self.tp = 1\n    self.take_profit = 1, getattr(self, 'tp')",
        "sl = None\ndef before(self): self.sl = 1",
        "def before(self): self.regime = 1",
        "def before(self):\n    self.sl = 1\n    self.stop_loss = 1, vars(self)['sl']",
        "@property\ndef target(self): return 1\n@target.setter\ndef target(self, value): self.vars[0] = 1\n"
        "def before(self): self.target = 2",
    ],
)
def test_names_of_ones_own_that_are_read(body: str) -> None:
    assert not found(strategy(body), "never-read")


@pytest.mark.parametrize(
    ("expression", "suggestion"),
    [
        ("self.prise", "use self.price"),
        ("self.pnl", "use self.position.pnl"),
        ("self.current_price", "use self.price"),
        ("self.is_spot", "use self.is_spot_trading"),
        ("self.trend_now", "use self.trend"),
        ("self.xqzw", None),
        ("[self.prise for _ in range(3)]", "use self.price"),
        ("(lambda: self.prise)()", "use self.price"),
    ],
)
def test_unknown_names_after_self(expression: str, suggestion: str | None) -> None:
    code = strategy(f"def trend(self): return 1\ndef before(self): {expression}")
    (finding,) = found(code, "unknown-member")
    assert finding.severity is Severity.ERROR
    assert finding.suggestion == suggestion


@pytest.mark.parametrize(
    "body",
    [
        *(f"def before(self): self.{member}" for member in CATALOG.strategy_members if member != "capital"),
        "LIMIT = 3\ndef before(self): self.LIMIT",
        "class Inner: pass\ndef before(self): self.Inner()",
        "def before(self): self.seen = 1\ndef after(self): self.seen",
        "def before(self): self.a, self.b = 1, 2\ndef after(self): self.a + self.b",
        "def before(self):\n    for self.i in range(3): pass\ndef after(self): self.i",
        "def before(self):\n    with open('x') as self.f: pass\ndef after(self): self.f",
        "def before(self): setattr(self, 'made', 1)\ndef after(self): self.made",
        "def before(self): setattr(self, 'a' + 'b', 1)\ndef after(self): self.anything",
        "def before(self): self.__dict__.update(x=1)\ndef after(self): self.x",
        "def __getattr__(self, name): return 1\ndef after(self): self.x",
        "def after(self):\n    if hasattr(self, 'maybe'): self.maybe",
        "def after(self): self._private",
        "def after(strategy): strategy.price",
        "@staticmethod\ndef f(self): return self.foreign",
        "@classmethod\ndef f(cls): return cls.anything",
        "def before(self): sorted([], key=lambda self: self.other)",
        "def before(self):\n    def f(self): return self.other\n    f(1)",
        "def before(self):\n    class T:\n        def f(self): return self.own\n    self.t = T()",
    ],
)
def test_known_names_after_self(body: str) -> None:
    assert not found(strategy(body), "unknown-member")


def test_members_from_local_and_imported_bases() -> None:
    local = f"{HEAD}class M:\n    def helper(self): self.x = 1\nclass S(M, Strategy):{METHODS}"
    assert check(local + "    def before(self): self.helper(); self.x\n").findings == ()
    imported = f"{HEAD}from m import M\nclass S(M, Strategy):{METHODS}    def before(self): self.anything\n"
    assert check(imported).findings == ()
    helper = (
        f"{HEAD}def mark(s): s.marked = 1\nclass S(Strategy):{METHODS}    def before(self): self.marked\n"
    )
    assert check(helper).findings == ()


@pytest.mark.parametrize(
    ("rule", "body"),
    [
        ("removed-member", "def before(self): self.capital"),
        ("read-only-member", "def before(self): self.leverage = 3"),
        ("read-only-member", "def before(self): self.balance += 3"),
        ("property-called", "def before(self): self.price()"),
        ("hp-attribute", "def before(self): self.hp.period"),
    ],
)
def test_members_used_as_what_they_are_not(rule: str, body: str) -> None:
    (finding,) = found(strategy(body), rule)
    assert finding.severity is Severity.ERROR
    assert finding.suggestion


def test_a_hook_that_is_overwritten() -> None:
    assert found(strategy("def before(self): self.filters = []"), "hook-overwritten")
    assert not found(strategy("def before(self): self.filter_list = []"), "hook-overwritten")


@pytest.mark.parametrize(
    "body",
    [
        "capital = 5\ndef before(self): self.capital",
        "leverage = 1\ndef before(self): self.leverage = 3",
        "def price(self): return 1\ndef before(self): self.price()",
        "def before(self): self.hp.get('x'); self.hp['y'] = 1",
        "def before(self): self.liquidate()",
        "def before(self): self.hp = object()\ndef after(self): self.hp.period",
        "def before(self): self.vars['x'] = self.price",
    ],
)
def test_members_of_ones_own_are_used_freely(body: str) -> None:
    rules = {"removed-member", "read-only-member", "property-called", "hp-attribute"}
    assert rules.isdisjoint(finding.rule for finding in check(strategy(body)).findings)


@pytest.mark.parametrize(
    ("body", "name", "suggestion"),
    [
        ("def before(self): pd.Series([1])", "pd", "import pandas as pd"),
        ("def before(self): ema(self.candles, 5)", "ema", "import jesse.indicators as ta, then ta.ema"),
        ("def before(self):\n    distance = 1\n    distanze + 1", "distanze", "use distance"),
        ("def before(self) -> Foo: pass", "Foo", None),
    ],
)
def test_undefined_names(body: str, name: str, suggestion: str | None) -> None:
    (finding,) = found(strategy(body), "undefined-name")
    assert finding.severity is Severity.ERROR
    assert name in finding.message
    assert finding.suggestion == suggestion


@pytest.mark.parametrize(
    "code",
    [
        strategy("def before(self): print(__file__, __name__, len([]))"),
        strategy(
            "def before(self):\n    match self.price:\n        case [a, *b]: a, b\n        case {**c}: c"
        ),
        strategy("def before(self):\n    if (n := 3): n\n    try: pass\n    except ValueError as e: e"),
        strategy("def before(self):\n    try: undefined\n    except NameError: pass"),
        strategy("def before(self): globals()['x'] = 1; x"),
        strategy("def before(self): y: Foo = 1; y"),
        "from __future__ import annotations\n" + strategy("def before(self, x: Foo = 1) -> Foo: pass"),
        "from somewhere import *\n" + strategy("def before(self): unknown()"),
        strategy("def before(self): [i * j for i in range(3) for j in range(i)]"),
    ],
)
def test_defined_names(code: str) -> None:
    assert not found(code, "undefined-name")
