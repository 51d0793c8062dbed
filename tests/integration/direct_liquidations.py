"""Liquidation and bankruptcy prices by Jesse's own class. Run by a Python that has Jesse.

``python direct_liquidations.py CASES.json``: for each ``[type, entry price, leverage]`` the two prices of an
isolated position, as JSON on standard output.
"""

import json
import sys
from types import SimpleNamespace

from jesse.models import Position


def prices(side: str, entry_price: float, leverage: float) -> list[float]:
    position = Position()
    position.qty = 1.0 if side == "long" else -1.0
    position.entry_price = entry_price
    position.exchange = SimpleNamespace(type="futures", futures_leverage_mode="isolated", vars={})
    position.strategy = SimpleNamespace(leverage=leverage)
    return [float(position.liquidation_price), float(position.bankruptcy_price)]


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr
    with open(sys.argv[1]) as file:  # noqa: PTH123
        cases = json.load(file)
    json.dump([prices(*case) for case in cases], answers)
