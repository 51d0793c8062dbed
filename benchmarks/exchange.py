"""An imitated exchange in a process of its own, so that its work is not taken for ours.

Run as ``python exchange.py CANDLES EXCHANGE SYMBOL``, the candles raw float64 rows of six columns. It prints
the environment through which it is reached as a line of JSON, and ends with its standard input.
"""

import json
import sys
from pathlib import Path

import numpy as np

_COLUMNS = 6


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from exchange_server import ExchangeServer

    path, exchange, symbol = sys.argv[1:]
    candles = np.fromfile(path, dtype="<f8").reshape(-1, _COLUMNS)
    with ExchangeServer({(exchange, symbol): candles}) as server:
        print(json.dumps(server.environment), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
