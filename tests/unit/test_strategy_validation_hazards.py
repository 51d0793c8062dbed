"""Validation: what reaches out of the run, differs from run to run, or knows the future."""

import pytest

from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.domain.strategies import Finding, Severity
from jesse_mcp.services.validation import validate_source

CATALOG = load_catalog()


def findings(lines: str, head: str = "", members: str = "") -> list[Finding]:
    body = "\n        ".join(lines.splitlines()) or "pass"
    code = f"""
import datetime, os, random, time, uuid
import jesse.helpers as jh
import jesse.indicators as ta
import numpy as np
from jesse import utils
from jesse.strategies import Strategy
{head}
class S(Strategy):
    {members}
    def should_long(self):
        return self.price > 1

    def go_long(self):
        self.buy = 1, self.price

    def before(self):
        {body}
"""
    return list(validate_source(code, CATALOG, "S").findings)


def only(lines: str, head: str = "", members: str = "") -> Finding:
    (finding,) = findings(lines, head, members)
    assert finding.severity is Severity.WARNING
    return finding


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        ("dynamic-code", "exec('x = 1')"),
        ("dynamic-code", "eval('1')"),
        ("dynamic-code", "compile('1', 'f', 'eval')"),
        ("dynamic-code", "__import__('os')"),
        ("dynamic-code", "import importlib"),
        ("dynamic-code", "import pickle"),
        ("file-access", "open('x')"),
        ("file-access", "os.remove('x')"),
        ("file-access", "from pathlib import Path"),
        ("file-access", "import shutil"),
        ("network-access", "import socket"),
        ("network-access", "import requests"),
        ("network-access", "import httpx"),
        ("network-access", "import urllib.request"),
        ("network-access", "from urllib import request"),
        ("process-access", "import subprocess"),
        ("process-access", "os.system('x')"),
        ("process-access", "os.execv('x', [])"),
        ("process-access", "os.fork()"),
        ("process-access", "from multiprocessing import Pool"),
        ("process-access", "import ctypes"),
        ("process-access", "import threading"),
        ("stops-the-run", "input()"),
        ("stops-the-run", "breakpoint()"),
        ("stops-the-run", "time.sleep(1)"),
        ("stops-the-run", "utils.dd('x')"),
        ("not-reproducible", "datetime.datetime.now()"),
        ("not-reproducible", "datetime.date.today()"),
        ("not-reproducible", "time.time()"),
        ("not-reproducible", "clock = time.perf_counter"),
        ("not-reproducible", "random.random()"),
        ("not-reproducible", "random.choice([1, 2])"),
        ("not-reproducible", "random.Random()"),
        ("not-reproducible", "np.random.normal()"),
        ("not-reproducible", "np.random.default_rng()"),
        ("not-reproducible", "np.random.seed()\nnp.random.rand(3)"),
        ("not-reproducible", "uuid.uuid4()"),
        ("not-reproducible", "os.urandom(3)"),
        ("not-reproducible", "os.environ.get('X')"),
        ("not-reproducible", "import secrets\nsecrets.token_hex()"),
        ("look-ahead", "np.roll(self.candles[:, 2], -1)"),
        ("look-ahead", "np.roll(self.candles[:, 2], shift=-3)"),
        ("look-ahead", "jh.np_shift(self.candles[:, 2], -1)"),
        ("look-ahead", "self.frame.shift(-1)"),
        ("look-ahead", "self.frame.shift(periods=-2)"),
        ("look-ahead", "self.frame.pct_change(-2)"),
        ("look-ahead", "self.frame.rolling(5, center=True)"),
        ("look-ahead", "self.frame.bfill()"),
        ("look-ahead", "import scipy.signal\nscipy.signal.filtfilt(1, 1, self.candles[:, 2])"),
        ("look-ahead", "for i in range(3): self.candles[i + 1]"),
        ("look-ahead", "for i in range(3): self.candles[1 + i, 2]"),
        ("look-ahead", "closes = self.candles[:, 2]\nfor i in range(3): closes[i + 1]"),
        ("look-ahead", "i = 3\nself.get_candles('a', 'b', '1h')[i + 2]"),
        ("reversed-series", "ta.ema(self.candles[::-1])"),
        ("reversed-series", "ta.ema(np.flip(self.candles))"),
        ("reversed-series", "x = self.candles[::-1]\nta.ema(x, 5)"),
        ("reversed-series", "self.candles[::-1][0]"),
        ("reversed-series", "self.candles[::-1, 2][3]"),
    ],
)
def test_patterns_worth_a_warning(rule: str, lines: str) -> None:
    member = "frame = None" if "self.frame" in lines else ""
    assert only(lines, members=member).rule == rule


@pytest.mark.parametrize(
    "lines",
    [
        "def open(path): return path\nopen('x')",
        "self.open; self.position.open",
        "os.path.join('a', 'b')",
        "print('text')",
        "datetime.datetime(2024, 1, 1); datetime.datetime.fromtimestamp(self.time / 1000)",
        "random.seed(3)\nrandom.random()",
        "random.Random(3).random()",
        "np.random.seed(3)\nnp.random.rand(3)",
        "np.random.default_rng(3).normal()",
        "self.time; self.vars.get('random')",
        "np.roll(self.candles[:, 2], 1)",
        "jh.np_shift(self.candles[:, 2], 1)",
        "self.candles[-2]",
        "n = 3\nself.candles[-n + 1:]",
        "self.candles[-1, 2]; self.candles[:-1]",
        "x = [1, 2]\nfor i in range(1): x[i + 1]",
        "for i in range(3): self.candles[i - 1]",
        "x = self.candles[::-1]\nlen(x)",
        "ta.ema(self.candles[::2])",
        "'abc'[::-1][0]",
        "self.candles.mean(); np.std(self.candles[:, 2])",
    ],
)
def test_patterns_that_are_fine(lines: str) -> None:
    assert not findings(lines)


@pytest.mark.parametrize(
    ("lines", "head", "members"),
    [
        ("SEEN.append(1)", "SEEN = []", ""),
        ("SEEN['x'] = 1", "SEEN = {}", ""),
        ("SEEN['x'] += 1", "SEEN: dict = dict()", ""),
        ("del SEEN[0]", "SEEN = [1]", ""),
        ("global COUNT\nCOUNT += 1", "COUNT = 0", ""),
        ("self.seen.append(1)", "", "seen = []"),
        ("self.seen['x'] = 1", "", "seen = {}"),
        ("S.count += 1", "", "count = 0"),
        ("S.seen.add(1)", "", "seen = set()"),
    ],
)
def test_state_shared_by_all_routes(lines: str, head: str, members: str) -> None:
    finding = only(lines, head, members)
    assert finding.rule == "shared-state"
    assert "self.vars" in (finding.suggestion or "")


@pytest.mark.parametrize(
    ("lines", "head", "members"),
    [
        ("LEVELS[0]", "LEVELS = [1, 2]", ""),
        ("LEVELS = []\nLEVELS.append(1)", "LEVELS = [1, 2]", ""),
        ("self.seen = []\nself.seen.append(1)", "", "seen = []"),
        ("self.count += 1", "", "count = 0"),
        ("self.levels[0]", "", "levels = [1, 2]"),
        ("self.vars['x'] = 1\nself.vars.setdefault('y', []).append(1)", "", ""),
    ],
)
def test_state_of_ones_own(lines: str, head: str, members: str) -> None:
    assert not findings(lines, head, members)


def test_many_findings_of_one_rule_are_counted_not_listed() -> None:
    found = findings("\n".join(f"open('{i}')" for i in range(50)))
    assert len(found) == 20
    assert "(and 30 more like this)" in found[-1].message
