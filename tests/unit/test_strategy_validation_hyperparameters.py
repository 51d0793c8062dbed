"""Validation: ``hyperparameters()`` and the use of ``self.hp``."""

import textwrap

import pytest

from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.domain.strategies import Finding, HyperparameterInfo, Severity, ValidationReport
from jesse_mcp.services.validation import validate_source

CATALOG = load_catalog()
PERIOD = '{"name": "period", "type": int, "min": 5, "max": 50, "default": 20}'


def check(body: str, head: str = "", use: str = "self.hp") -> ValidationReport:
    code = f"""
from jesse.strategies import Strategy
{head}
class S(Strategy):
    def should_long(self):
        return bool({use})

    def go_long(self):
        self.buy = 1, self.price

"""
    return validate_source(code + textwrap.indent(textwrap.dedent(body), "    "), CATALOG, "S")


def declared(*entries: str, head: str = "", use: str = "self.hp") -> ValidationReport:
    return check(f"def hyperparameters(self):\n    return [{', '.join(entries)}]", head, use)


def only(report: ValidationReport) -> Finding:
    (finding,) = report.findings
    return finding


def test_what_is_declared_is_read() -> None:
    report = declared(
        PERIOD,
        'dict(name="share", type="float", min=-1, max=0.5, step=0.25, default=0)',
        '{"name": "mode", "type": "categorical", "options": ["a", 2, True], "default": "a"}',
    )
    assert report.findings == ()
    assert report.hyperparameters == (
        HyperparameterInfo(name="period", type="int", min=5, max=50, default=20),
        HyperparameterInfo(name="share", type="float", min=-1, max=0.5, step=0.25, default=0),
        HyperparameterInfo(name="mode", type="categorical", options=("a", 2, True), default="a"),
    )


def test_constants_of_the_module_are_read() -> None:
    report = declared(
        '{"name": NAME, "type": int, "min": 1, "max": TOP, "default": 2}', head="NAME = 'x'\nTOP = 9"
    )
    assert report.hyperparameters == (HyperparameterInfo(name="x", type="int", min=1, max=9, default=2),)


def test_none_are_declared() -> None:
    assert check("").hyperparameters == ()
    assert declared().hyperparameters == ()


@pytest.mark.parametrize(
    "body",
    [
        "def hyperparameters(self):\n    return [dict(name=n, type=int, default=1) for n in 'ab']",
        "def hyperparameters(self):\n    return make()",
        "def hyperparameters(self):\n    x = []\n    return x",
        "def hyperparameters(self):\n    return [{**BASE}]",
        "def hyperparameters(self):\n    return [make()]",
        "def hyperparameters(self):\n    return [dict(name='a' + 'b', type=int, min=1, max=2, default=1)]",
        "hyperparameters = make",
    ],
)
def test_what_is_computed_is_not_guessed(body: str) -> None:
    report = check(body, head="BASE = {}\ndef make(): return []")
    assert report.hyperparameters is None
    assert report.findings == ()


@pytest.mark.parametrize(
    "body",
    [
        f"@property\ndef hyperparameters(self):\n    return [{PERIOD}]",
        f"async def hyperparameters(self):\n    return [{PERIOD}]",
        f"def hyperparameters(self):\n    yield {PERIOD}",
        f"def hyperparameters(self, market):\n    return [{PERIOD}]",
        f"def hyperparameters():\n    return [{PERIOD}]",
        f"hyperparameters = [{PERIOD}]",
    ],
)
def test_what_jesse_cannot_call_is_an_error(body: str) -> None:
    finding = only(check(body))
    assert (finding.rule, finding.severity) == ("hyperparameters-form", Severity.ERROR)
    assert finding.suggestion == "def hyperparameters(self): return [...]"


@pytest.mark.parametrize(
    "body",
    [
        f"@staticmethod\ndef hyperparameters():\n    return [{PERIOD}]",
        f"@classmethod\ndef hyperparameters(cls):\n    return [{PERIOD}]",
        "def hyperparameters(self):\n    return [dict(name='x', type=int, min=1, max=9, default=self.index)]",
    ],
)
def test_what_only_the_optimizer_cannot_call_is_a_warning(body: str) -> None:
    finding = only(check(body))
    assert (finding.rule, finding.severity) == ("hyperparameters-form", Severity.WARNING)


def test_an_optional_parameter_is_no_obstacle() -> None:
    assert check(f"def hyperparameters(self, extra=None):\n    'text'\n    return [{PERIOD}]").findings == ()


@pytest.mark.parametrize(
    ("rule", "severity", "entry"),
    [
        ("hyperparameter-entry", Severity.ERROR, '{"type": int, "min": 1, "max": 9, "default": 2}'),
        ("hyperparameter-entry", Severity.ERROR, '{"name": "x", "type": int, "min": 1, "max": 9}'),
        (
            "hyperparameter-entry",
            Severity.ERROR,
            '{"name": 3, "type": int, "min": 1, "max": 9, "default": 2}',
        ),
        ("hyperparameter-entry", Severity.ERROR, '"period"'),
        ("hyperparameter-entry", Severity.ERROR, '("period", int, 5)'),
        ("hyperparameter-type", Severity.WARNING, '{"name": "x", "min": 1, "max": 9, "default": 2}'),
        ("hyperparameter-type", Severity.WARNING, '{"name": "x", "type": bool, "default": True}'),
        ("hyperparameter-type", Severity.WARNING, '{"name": "x", "type": "integer", "default": 2}'),
        (
            "hyperparameter-range",
            Severity.ERROR,
            '{"name": "x", "type": int, "min": 9, "max": 1, "default": 5}',
        ),
        (
            "hyperparameter-range",
            Severity.WARNING,
            '{"name": "x", "type": int, "min": 1, "max": 9, "default": 10}',
        ),
        (
            "hyperparameter-range",
            Severity.WARNING,
            '{"name": "x", "type": int, "min": 1, "max": 9, "default": -1}',
        ),
        ("hyperparameter-range", Severity.WARNING, '{"name": "x", "type": int, "default": 5}'),
        (
            "hyperparameter-range",
            Severity.WARNING,
            '{"name": "x", "type": float, "min": 0, "max": 1, "step": 0, "default": 0.5}',
        ),
        ("hyperparameter-range", Severity.WARNING, '{"name": "x", "type": "categorical", "default": 1}'),
        (
            "hyperparameter-range",
            Severity.WARNING,
            '{"name": "x", "type": "categorical", "options": [1, 2], "default": 3}',
        ),
    ],
)
def test_entries_that_are_wrong(rule: str, severity: Severity, entry: str) -> None:
    finding = only(declared(entry))
    assert (finding.rule, finding.severity) == (rule, severity)


def test_numbers_no_report_can_show_are_left_out() -> None:
    (info,) = (
        declared(
            '{"name": "x", "type": float, "min": -1e999, "max": 0x1' + "0" * 5000 + ', "default": 1}'
        ).hyperparameters
        or ()
    )
    assert info == HyperparameterInfo(name="x", type="float", default=1)
    (info,) = (
        declared(
            r'{"name": "x", "type": "categorical", "options": ["\ud800"], "default": "\ud800"}'
        ).hyperparameters
        or ()
    )
    assert info.default is None


def test_a_name_declared_twice() -> None:
    finding = only(declared(PERIOD, PERIOD))
    assert (finding.rule, finding.severity) == ("hyperparameter-duplicate", Severity.ERROR)


@pytest.mark.parametrize(
    ("use", "suggestion"),
    [
        ('self.hp["perod"] + self.hp["period"]', 'use self.hp["period"]'),
        ('self.hp["zzz"] + self.hp["period"]', "declare it in hyperparameters()"),
    ],
)
def test_a_hyperparameter_nothing_declares(use: str, suggestion: str) -> None:
    finding = only(declared(PERIOD, use=use))
    assert (finding.rule, finding.severity) == ("unknown-hyperparameter", Severity.WARNING)
    assert finding.suggestion == suggestion


def test_a_hyperparameter_nothing_reads() -> None:
    finding = only(declared(PERIOD, use="self.price"))
    assert (finding.rule, finding.severity) == ("unused-hyperparameter", Severity.WARNING)


@pytest.mark.parametrize(
    "use",
    [
        'self.hp["period"]',
        "self.hp[self.key]",
        "dict(self.hp)",
        'self.hp.get("period")',
        'self.hp.get("other")',
    ],
)
def test_hyperparameters_that_are_read_somehow(use: str) -> None:
    assert declared(PERIOD, use=use, head="Strategy.key = 1").findings == ()


def test_a_value_the_strategy_sets_itself_may_be_read() -> None:
    report = check(
        f"def hyperparameters(self): return [{PERIOD}]\ndef before(self): self.hp['x'] = self.hp['x']"
    )
    assert report.findings == ()
