"""Validation against the real Jesse: what it believes about the engine, and what it says of real code."""

import json
import subprocess
from pathlib import Path

import pytest

from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.domain.strategies import Severity
from jesse_mcp.services.validation import validate_source
from jesse_mcp.services.validation.engine_facts import HOOKS, PROPERTIES

CATALOG = load_catalog()

FACTS = """
import inspect, json
from jesse.strategies import Strategy

members = {name: inspect.getattr_static(Strategy, name) for name in dir(Strategy) if not name.startswith("_")}
print(json.dumps({
    "properties": sorted(name for name, member in members.items() if isinstance(member, property)),
    "settable": sorted(name for name, m in members.items() if isinstance(m, property) and m.fset),
    "arguments": {
        name: len(inspect.signature(member).parameters) - 1
        for name, member in members.items() if inspect.isfunction(member)
    },
}))
"""

#: Strategies of Jesse's own test suite that are wrong on purpose, or are none.
NOT_VALID = {
    "Test35": {"no-strategy-class"},  # everything in it is commented out
    "TestCapitalPropertyRaisesNotImplementedError": {"removed-member"},
}


def ask(python: Path, script: str, folder: Path, *arguments: str) -> str:
    (folder / "script.py").write_text(script)
    finished = subprocess.run(
        [python, "script.py", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    return finished.stdout


def test_facts_about_the_engine(engine_python: Path, tmp_path: Path) -> None:
    facts = json.loads(ask(engine_python, FACTS, tmp_path))
    assert set(facts["properties"]) == PROPERTIES
    assert facts["settable"] == []
    assert {name: facts["arguments"][name] for name in HOOKS} == HOOKS


def test_what_jesse_ships_has_no_errors(engine_python: Path, tmp_path: Path) -> None:
    where = ask(
        engine_python, "import importlib.util; print(importlib.util.find_spec('jesse').origin)", tmp_path
    )
    modules = sorted((Path(where.strip()).parent / "strategies").glob("*/__init__.py"))
    assert len(modules) > 150
    errors: dict[str, set[str]] = {}
    for module in modules:
        name = module.parent.name
        for finding in validate_source(module.read_text(), CATALOG, name).findings:
            if finding.severity is Severity.ERROR:
                errors.setdefault(name, set()).add(finding.rule)
    assert errors == NOT_VALID


RUNNER = """
import json, sys
import numpy as np
import jesse.research

rows = 600
close = 100 + np.sin(np.arange(rows) / 20)
open_ = np.r_[100, close[:-1]]
time = 1704067200000 + np.arange(rows) * 60000.0
candles = np.column_stack(
    [time, open_, close, np.maximum(open_, close) + 0.01, np.minimum(open_, close) - 0.01, np.ones(rows)]
)


def run(code, kind):
    exchange = "Binance Spot" if kind == "spot" else "Binance Perpetual Futures"
    config = {
        "starting_balance": 10000, "fee": 0.0004, "type": kind, "futures_leverage": 1,
        "futures_leverage_mode": "cross", "exchange": exchange, "warm_up_candles": 0,
    }
    series = {f"{exchange}-BTC-USDT": {"exchange": exchange, "symbol": "BTC-USDT", "candles": candles.copy()}}
    try:
        space = {"__name__": "S"}
        exec(code, space)
        route = {"exchange": exchange, "strategy": space["S"], "symbol": "BTC-USDT", "timeframe": "1m"}
        jesse.research.backtest(config, [route], [], series)
    except BaseException as error:
        return type(error).__name__
    return None


codes = json.load(open(sys.argv[1]))
print(json.dumps([[run(code, kind) for kind in ("futures", "spot")] for code in codes]))
"""

HEAD = """
import numpy as np
import jesse.indicators as ta
from jesse import utils
from jesse.strategies import Strategy, cached
class S(Strategy):
    def should_long(self):
        return self.index > 60 and self.index % 50 == 0
    def go_long(self):
        self.buy = 1, self.price
"""
EXIT = "    def update_position(self):\n        self.liquidate()\n"

REFUSED = {
    "unknown-member": "    def before(self): self.prise\n",
    "removed-member": "    def before(self): self.capital\n",
    "read-only-member": "    def before(self): self.leverage = 3\n",
    "property-called": "    def before(self): self.price()\n",
    "hp-attribute": "    def before(self): self.hp.period\n",
    "undefined-name": "    def before(self): math.sqrt(2)\n",
    "unknown-indicator": "    def before(self): ta.bbands(self.candles)\n",
    "unknown-utility": "    def before(self): utils.size_to_quantity(1, 2)\n",
    "indicator-arguments": "    def before(self): ta.ema(self.candles, periods=5)\n",
    "unknown-result-field": "    def before(self): ta.macd(self.candles).histogram\n",
    "hook-signature": EXIT + "    def on_close_position(self, order): pass\n",
    "hook-not-a-method": "    filters = [1]\n",
    "init-without-super": "    def __init__(self): self.x = 1\n",
    "hyperparameters-form": "    hyperparameters = [dict(name='x', default=1)]\n",
    "hyperparameter-entry": "    def hyperparameters(self): return [{'name': 'x', 'type': int}]\n",
    "missing-method": (
        "    def should_short(self): return self.index % 50 == 20 and self.is_futures_trading\n"
    ),
}
ACCEPTED = [
    EXIT,
    EXIT + "    def on_close_position(self, order, closed_trade): pass\n",
    EXIT + "    def before(self): self.x = ta.ema(self.candles, period=5)\n    def after(self): self.x\n",
    EXIT + "    def __init__(self):\n        super().__init__()\n        self.x = 1\n",
    EXIT + "    @staticmethod\n    def hyperparameters(): return [dict(name='x', default=1)]\n",
    EXIT + "    @staticmethod\n    def before(): pass\n",
    EXIT + "    def on_open_position(self, order): self.stop_loss = self.position.qty, self.price * 0.9\n",
    EXIT + "    def hyperparameters(self): return [dict(name='x', min=1, max=2, default=9)]\n",
]


@pytest.fixture(scope="module")
def outcomes(engine_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str | None]]:
    """What Jesse does with each piece of code, on futures and on spot."""
    folder = tmp_path_factory.mktemp("outcomes")
    bodies = [*REFUSED.values(), *ACCEPTED]
    (folder / "codes.json").write_text(json.dumps([HEAD + body for body in bodies]))
    answers = json.loads(ask(engine_python, RUNNER, folder, "codes.json").splitlines()[-1])
    return dict(zip(bodies, answers, strict=True))


@pytest.mark.parametrize("rule", REFUSED)
def test_what_is_an_error_really_fails(rule: str, outcomes: dict[str, list[str | None]]) -> None:
    report = validate_source(HEAD + REFUSED[rule], CATALOG, "S")
    assert {found.rule for found in report.findings if found.severity is Severity.ERROR} == {rule}
    assert outcomes[REFUSED[rule]][0] is not None


@pytest.mark.parametrize("body", ACCEPTED)
def test_what_is_no_error_really_runs(body: str, outcomes: dict[str, list[str | None]]) -> None:
    assert validate_source(HEAD + body, CATALOG, "S").valid
    assert outcomes[body] == [None, None]


def test_exits_in_go_long_fail_on_spot_only(engine_python: Path, tmp_path: Path) -> None:
    code = HEAD + "        self.stop_loss = 1, self.price * 0.9\n"
    report = validate_source(code, CATALOG, "S")
    assert [finding.rule for finding in report.findings] == ["exit-in-go-long"]
    assert report.valid
    (tmp_path / "codes.json").write_text(json.dumps([code]))
    answers = json.loads(ask(engine_python, RUNNER, tmp_path, "codes.json").splitlines()[-1])
    assert answers == [[None, "InvalidStrategy"]]
