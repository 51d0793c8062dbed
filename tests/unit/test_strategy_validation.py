"""Validation: the text, the class, and the methods Jesse calls."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_plain_strategy_has_no_findings() -> None:
    report = check(strategy(""))
    assert report == ValidationReport(valid=True, class_name="S", findings=(), hyperparameters=())


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("class S(Strategy:\n    pass", 1),
        ("x = 1\nreturn x", 2),
        ("def f(a, a): pass", 1),
        ("async def f():\n    pass\nawait f()", 3),
        ("\0", None),
        ("x = '\ud800'", None),
        ("(" * 5000, None),
        ("x = " + "-" * 100_000 + "1", None),
        ("x = 1\n" * 200_000, None),
    ],
)
def test_what_is_no_python_is_reported_with_its_line(code: str, line: int | None) -> None:
    report = check(code)
    assert not report.valid
    assert report.class_name is None
    assert [finding.rule for finding in report.findings] in (["syntax"], ["too-complex"], ["too-large"])
    if line is not None:
        assert report.findings[0].line == line


@pytest.mark.parametrize(
    "code",
    [
        "x = {" + "1: 1, " * 40_000 + "}",
        "x = f'" + "{a}" * 60_000 + "'",
        "x = [" + "[], " * 60_000 + "]",
        "@a\n" * 60_000 + "def f(): pass",
    ],
)
def test_what_would_take_long_to_look_through_is_refused(code: str) -> None:
    (finding,) = check(strategy("") + code).findings
    assert finding.rule == "too-complex"
    assert finding.suggestion


def test_a_long_strategy_is_looked_through() -> None:
    methods = "\n".join(
        f"def m{n}(self):\n    return self.price * {n} + self.close - 1" for n in range(1_500)
    )
    assert check(strategy(methods)).valid


def test_a_byte_order_mark_is_accepted() -> None:
    assert check("\ufeff" + strategy("")).valid


def test_a_deep_chain_of_attributes_does_not_break_the_check() -> None:
    for depth in (300, 600, 900, 2000):
        check(strategy(f"@a{'.x' * depth}\ndef f(self):\n    return self.position{'.x' * depth}\n"))


@given(st.text())
def test_any_text_yields_a_report(code: str) -> None:
    report = check(code)
    assert report.valid == all(finding.severity is not Severity.ERROR for finding in report.findings)


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("no-strategy-class", ""),
        ("no-strategy-class", "import numpy\nclass Helper:\n    pass"),
        ("wrong-base-class", f"class S:{METHODS}"),
        ("wrong-base-class", f"import abc\nclass S(abc.ABC):{METHODS}"),
        ("wrong-base-class", f"class S(Strategy):{METHODS}"),
        ("wrong-base-class", f"class Base: pass\nclass S(Base):{METHODS}"),
        ("class-name", f"{HEAD}class Other(Strategy):{METHODS}"),
        ("several-strategy-classes", f"{HEAD}class A(Strategy):{METHODS}\nclass B(Strategy):{METHODS}"),
        ("undefined-name", f"class S(Strategy):{METHODS}"),
    ],
)
def test_the_wrong_class_is_an_error(rule: str, code: str) -> None:
    (finding,) = found(code, rule)
    assert finding.severity is Severity.ERROR
    assert finding.suggestion
    assert not check(code).valid


@pytest.mark.parametrize(
    "code",
    [
        f"from jesse.strategies import Strategy as Base\nclass S(Base):{METHODS}",
        f"from jesse.strategies.Strategy import Strategy\nclass S(Strategy):{METHODS}",
        f"import jesse.strategies\nclass S(jesse.strategies.Strategy):{METHODS}",
        f"from jesse import strategies\nclass S(strategies.Strategy):{METHODS}",
        f"from jesse.strategies import *\nclass S(Strategy):{METHODS}",
        f"{HEAD}class Base(Strategy):{METHODS}\nclass S(Base):\n    pass",
        f"{HEAD}class Mixin:{METHODS}\nclass S(Mixin, Strategy):\n    pass",
        "from strategies.Other import Other\nclass S(Other):\n    pass",
        f"{HEAD}try:\n    import x\nexcept ImportError:\n    x = None\nif True:\n"
        f"    class S(Strategy):{textwrap.indent(METHODS, '    ')}",
    ],
)
def test_every_way_to_extend_strategy_is_recognised(code: str) -> None:
    report = check(code)
    assert report.valid, report.findings
    assert report.class_name == "S"


def test_the_expected_class_may_stand_beside_another_strategy() -> None:
    report = check(f"{HEAD}class S(Strategy):{METHODS}\nclass T(Strategy):{METHODS}")
    assert report.valid
    assert [finding.rule for finding in report.findings] == ["several-strategy-classes"]
    assert not found(
        f"{HEAD}class Base(Strategy):{METHODS}\nclass S(Base):\n    pass", "several-strategy-classes"
    )


def test_without_an_expected_name_the_only_strategy_is_checked() -> None:
    assert check(strategy(""), None).class_name == "S"


def test_a_class_that_comes_from_elsewhere_is_left_to_the_run() -> None:
    report = check("from strategies.Other import Other as S")
    assert report.valid
    assert [finding.rule for finding in report.findings] == ["class-defined-elsewhere"]


SHOULD, GO = "    def should_long(self): return True\n", "    def go_long(self): self.buy = 1, 2\n"


@pytest.mark.parametrize(
    ("methods", "missing"),
    [
        (SHOULD, "go_long"),
        (GO, "should_long"),
        (f"{SHOULD}{GO}    def should_short(self): return self.price < 1\n", "go_short"),
        (f"{SHOULD}{GO}    def should_short(self):\n        if self.index: return True\n", "go_short"),
    ],
)
def test_required_methods(methods: str, missing: str) -> None:
    (finding,) = found(strategy("", f"\n{methods}"), "missing-method")
    assert finding.severity is Severity.ERROR
    assert f"def {missing}(self)" in (finding.suggestion or "")


@pytest.mark.parametrize(
    "methods",
    [
        f"{SHOULD}{GO}    def should_short(self): return False\n",
        f"{SHOULD}{GO}    def should_short(self): pass\n",
        f"{SHOULD}{GO}    def should_short(self): return True\n    def go_short(self): self.sell = 1, 2\n",
        f"{SHOULD}    go_long = lambda self: setattr(self, 'buy', (1, 2))\n",
    ],
)
def test_no_method_is_asked_for_without_need(methods: str) -> None:
    assert not found(strategy("", f"\n{methods}"), "missing-method")


def test_methods_of_an_imported_base_are_not_missed() -> None:
    code = "from jesse.strategies import Strategy\nfrom mixins import M\nclass S(M, Strategy):\n    pass"
    assert check(code).findings == ()


@pytest.mark.parametrize(
    ("rule", "body"),
    [
        ("hook-signature", "def on_close_position(self, order): pass"),
        ("hook-signature", "def on_open_position(self): pass"),
        ("hook-signature", "def update_position(self, candle): pass"),
        ("hook-signature", "def before(): pass"),
        ("hook-signature", "def on_route_canceled(self): pass"),
        ("hook-signature", "def on_cancel(self, *, force): pass"),
        ("hook-signature", "def __init__(self, period): super().__init__()"),
        ("hook-not-a-method", "filters = [1]"),
        ("hook-not-a-method", "@property\ndef should_short(self): return False"),
        ("hook-not-a-method", "async def before(self): pass"),
        ("init-without-super", "def __init__(self): self.x = 1"),
    ],
)
def test_methods_that_cannot_be_called_as_jesse_calls_them(rule: str, body: str) -> None:
    (finding,) = found(strategy(body), rule)
    assert finding.severity is Severity.ERROR
    assert finding.suggestion


@pytest.mark.parametrize(
    "body",
    [
        "def on_close_position(self, order, closed_trade): pass",
        "def on_close_position(self, *args): pass",
        "def on_open_position(self, order, extra=None): pass",
        "@cached\ndef should_short(self): return False",
        "@staticmethod\ndef before(): pass",
        "@classmethod\ndef before(cls): pass",
        "@some.wrapper\ndef before(self, anything): pass",
        "def __init__(self):\n    super().__init__()\n    self.x = 1",
        "def __init__(self):\n    Strategy.__init__(self)",
    ],
)
def test_methods_that_can_be_called_are_left_alone(body: str) -> None:
    report = check(strategy(body))
    rules = {"hook-signature", "hook-not-a-method", "init-without-super"}
    assert rules.isdisjoint(finding.rule for finding in report.findings)


@pytest.mark.parametrize(
    ("body", "instead"),
    [
        ("def should_cancel(self): return True", "should_cancel_entry"),
        ("def on_stop_loss(self, order): pass", "on_close_position"),
        ("def prepare(self): pass", "before"),
        ("def update_positions(self): pass", "update_position"),
        ("def on_open_positions(self, order): pass", "on_open_position"),
    ],
)
def test_methods_that_nothing_calls(body: str, instead: str) -> None:
    (finding,) = found(strategy(body), "never-called")
    assert finding.severity is Severity.WARNING
    assert instead in (finding.suggestion or "")


@pytest.mark.parametrize(
    "body",
    [
        "def update_positions(self): pass\ndef update_position(self): self.update_positions()",
        "def trend(self): return 1",
        "def filter_1(self): return True\ndef filters(self): return [self.filter_1]",
    ],
)
def test_own_methods_are_no_misspelt_hooks(body: str) -> None:
    assert not found(strategy(body), "never-called")


@pytest.mark.parametrize("use", ["self.price", "self.candles", "self.balance"])
def test_the_constructor_has_no_market_yet(use: str) -> None:
    body = f"def __init__(self):\n    super().__init__()\n    self.x = {use}"
    assert found(strategy(body), "used-in-init")
    assert not found(strategy(f"def before(self):\n    self.x = {use}"), "used-in-init")


def test_an_entry_without_an_order() -> None:
    silent = "\n    def should_long(self): return self.price > 1\n    def go_long(self): pass\n"
    assert found(strategy("", silent), "no-entry-order")
    helper = silent.replace("pass", "self.enter()") + "    def enter(self): self.buy = 1, 2\n"
    assert not found(strategy("", helper), "no-entry-order")
    assert not found(strategy("", silent.replace("self.price > 1", "False")), "no-entry-order")


@pytest.mark.parametrize(
    "go_long",
    [
        "self.buy = 1, 2; self.stop_loss = 1, 1",
        "self.buy = 1, 2; self.take_profit = 1, 3",
        "self.buy = 1, 2; self.exits()\n    def exits(self): self.stop_loss = 1, 1",
    ],
)
def test_exits_in_go_long_stop_a_run_on_spot(go_long: str) -> None:
    (finding,) = found(strategy("", f"\n{SHOULD}    def go_long(self): {go_long}\n"), "exit-in-go-long")
    assert finding.severity is Severity.WARNING
    assert "on_open_position" in (finding.suggestion or "")


@pytest.mark.parametrize(
    "body",
    [
        "def on_open_position(self, order): self.stop_loss = 1, 1",
        "def go_short(self):\n    self.sell = 1, 2\n    self.stop_loss = 1, 3",
        "def go_long(self):\n    self.buy = 1, 2\n    if self.is_futures_trading: self.stop_loss = 1, 1",
    ],
)
def test_exits_elsewhere_are_fine(body: str) -> None:
    assert not found(strategy(body, f"\n{SHOULD}{GO if 'go_long' not in body else ''}"), "exit-in-go-long")
