"""The recorded catalog against the Jesse that is really installed."""

import json
import subprocess
from pathlib import Path

from jesse_mcp.adapters.strategies.catalog import load_catalog
from jesse_mcp.domain.catalog import JesseCatalog

SCRIPT = Path(__file__).parents[2] / "src" / "jesse_mcp" / "engine_side" / "catalog.py"


def test_the_record_is_what_the_installed_jesse_offers(engine_python: Path, tmp_path: Path) -> None:
    printed = subprocess.run(
        [engine_python, SCRIPT], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert load_catalog() == JesseCatalog.model_validate_json(printed), "run scripts/update-catalog"


def test_result_fields_are_what_indicators_really_return(engine_python: Path, tmp_path: Path) -> None:
    probe = tmp_path / "probe.py"
    probe.write_text(
        """
import inspect, json, warnings
import numpy as np
import jesse.indicators as ta

warnings.simplefilter("ignore")
rng = np.random.default_rng(7)
close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 600)))
open_ = np.r_[100, close[:-1]]
high = np.maximum(open_, close) * (1 + rng.uniform(0, 0.01, 600))
low = np.minimum(open_, close) * (1 - rng.uniform(0, 0.01, 600))
time = 1.7e12 + np.arange(600) * 3.6e6
candles = np.column_stack([time, open_, close, high, low, rng.uniform(1, 9, 600)])
fields = {}
for name, function in vars(ta).items():
    if inspect.isfunction(function):
        required = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
        fields[name] = list(getattr(function(*[candles] * len(required)), "_fields", []))
print(json.dumps(fields))
"""
    )
    printed = subprocess.run(
        [engine_python, probe], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    recorded = {indicator.name: list(indicator.returns) for indicator in load_catalog().indicators}
    assert recorded == json.loads(printed)
