"""Validation: indicators, utilities, their arguments and results."""

import ast

import pytest

from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.domain.strategies import Finding, IndicatorInfo, Severity
from jesse_mcp.services.validation import validate_source

CATALOG = load_catalog()
RULES = {
    "unknown-indicator",
    "unknown-utility",
    "indicator-arguments",
    "unknown-result-field",
    "undefined-name",
}
HEAD = """
import jesse
import jesse.indicators as ta
import jesse.indicators
from jesse import indicators, utils
import jesse.utils as ju
from jesse.indicators import ema, macd as macd_of
from jesse.strategies import Strategy, cached
"""


def strategy(*lines: str, head: str = "") -> str:
    body = "\n        ".join(lines)
    return f"""{HEAD}{head}
class S(Strategy):
    def should_long(self):
        return self.price > 1

    def go_long(self):
        self.buy = 1, self.price

    @property
    def bands(self):
        return ta.bollinger_bands(self.candles)

    def before(self):
        {body}
"""


def findings(code: str) -> list[Finding]:
    return [finding for finding in validate_source(code, CATALOG, "S").findings if finding.rule in RULES]


@pytest.mark.parametrize(
    ("call", "suggestion"),
    [
        ("ta.emma(self.candles)", "use ema"),
        ("ta.bbands(self.candles)", "use bollinger_bands"),
        ("ta.stochastic(self.candles)", "use stoch"),
        ("indicators.macdd(self.candles)", "use macd"),
        ("jesse.indicators.superternd(self.candles)", "use supertrend"),
        ("f = ta.rsii", "use rsi"),
        ("ta.xyzzy(self.candles)", None),
    ],
)
def test_unknown_indicators(call: str, suggestion: str | None) -> None:
    (finding,) = findings(strategy(call))
    assert finding.rule == "unknown-indicator"
    assert finding.severity is Severity.ERROR
    assert finding.suggestion == suggestion


@pytest.mark.parametrize(
    "statement", ["from jesse.indicators import emma", "from jesse.indicators import bbands as b"]
)
def test_unknown_indicators_in_an_import(statement: str) -> None:
    (finding,) = findings(strategy("pass", head=statement))
    assert finding.rule == "unknown-indicator"


@pytest.mark.parametrize(
    ("call", "suggestion"),
    [
        ("utils.size_to_quantity(1, 2)", "use size_to_qty"),
        ("ju.risk_to_quantity(1)", "use risk_to_qty"),
        ("jesse.utils.cross(1, 2)", "use crossed"),
    ],
)
def test_unknown_utilities(call: str, suggestion: str) -> None:
    (finding,) = findings(strategy(call))
    assert finding.rule == "unknown-utility"
    assert finding.severity is Severity.ERROR
    assert finding.suggestion == suggestion


@pytest.mark.parametrize(
    "code",
    [
        *(strategy(f"utils.{name}") for name in CATALOG.utils),
        strategy("self.ta = 1; self.ta.anything()"),
        strategy("ta = object(); ta.anything()"),
        strategy("getattr(ta, 'ema')(self.candles)"),
        strategy("ta.stochastic.stoch(self.candles)"),
        strategy("ta.__name__"),
        strategy("other.emma(1)", head="import other"),
        strategy("utils.anything()", head="import utils"),
    ],
)
def test_known_names_pass(code: str) -> None:
    assert not findings(code)


@pytest.mark.parametrize("indicator", CATALOG.indicators, ids=lambda indicator: indicator.name)
def test_every_recorded_signature_can_be_read_and_satisfied(indicator: IndicatorInfo) -> None:
    function = ast.parse(f"def {indicator.signature}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    required = len(function.args.args) - len(function.args.defaults)
    assert not findings(strategy(f"ta.{indicator.name}({', '.join(['self.candles'] * required)})"))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("ta.ema(self.candles, periods=5)", "no parameter periods"),
        ("ta.ema(self.candles, 5, 'close', True, 1)", "takes 4 arguments, 5 are given"),
        ("ta.ema()", "needs candles"),
        ("ta.ema(period=5)", "needs candles"),
        ("ta.ema(self.candles, 5, period=6)", "period twice"),
        ("ta.beta(self.candles)", "needs benchmark_candles"),
        ("ema(self.candles, len=5)", "no parameter len"),
        ("macd_of(self.candles, fast=1)", "no parameter fast"),
    ],
)
def test_arguments_an_indicator_does_not_take(call: str, said: str) -> None:
    (finding,) = findings(strategy(call))
    assert finding.rule == "indicator-arguments"
    assert finding.severity is Severity.ERROR
    assert said in finding.message
    assert "the signature is" in (finding.suggestion or "")


@pytest.mark.parametrize(
    "call",
    [
        "ta.ema(self.candles, 5)",
        "ta.ema(candles=self.candles, period=5, sequential=True)",
        "ta.ema(*[self.candles, 5])",
        "ta.ema(self.candles, **{'period': 5})",
        "ta.ema(*[self.candles], period=5)",
        "ta.damiani_volatmeter(self.candles, vis_atr=3)",
    ],
)
def test_arguments_an_indicator_takes(call: str) -> None:
    assert not findings(strategy(call))


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        (["ta.macd(self.candles).histogram"], "hist"),
        (["x = ta.bollinger_bands(self.candles)", "x.upper"], "upperband"),
        (["self.bands.upper"], "upperband"),
        (["a, b = ta.macd(self.candles)"], "macd, signal, hist"),
        (["a, b, c, d = ta.bollinger_bands(self.candles)"], "upperband, middleband, lowerband"),
    ],
)
def test_fields_a_result_does_not_have(lines: list[str], field: str) -> None:
    (finding,) = findings(strategy(*lines))
    assert finding.rule == "unknown-result-field"
    assert finding.severity is Severity.ERROR
    assert field in (finding.suggestion or "")


@pytest.mark.parametrize(
    "lines",
    [
        ["ta.macd(self.candles).hist"],
        ["ta.macd(self.candles)._asdict()"],
        ["ta.macd(self.candles, sequential=True).hist.mean()"],
        ["ta.macd(self.candles)[2].real"],
        ["x = ta.macd(self.candles)", "x = object()", "x.anything"],
        ["x = ta.macd(self.candles)", "def f():", "    nonlocal x", "    x = 1", "x.anything"],
        ["x = ta.macd(self.candles)", "x.hist"],
        ["a, b, c = ta.macd(self.candles)"],
        ["a, *b = ta.macd(self.candles)"],
        ["self.bands.upperband"],
        ["ta.ema(self.candles, sequential=True).mean()"],
    ],
)
def test_fields_a_result_has(lines: list[str]) -> None:
    assert not findings(strategy(*lines))
