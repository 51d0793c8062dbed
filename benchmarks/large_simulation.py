"""One large simulation in a process of its own, which says what it took.

``python large_simulation.py METHOD SIMULATIONS VALUES``: seconds and the peak of the resident memory before
and with it, in MiB, as JSON on standard output.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from jesse_mcp.analytics.monte_carlo import ResamplingMethod, simulate

_KIB = 1024


def main() -> None:
    method: ResamplingMethod = sys.argv[1]  # type: ignore[assignment]
    simulations, count = int(sys.argv[2]), int(sys.argv[3])
    values = np.random.default_rng(1).normal(0.0005, 0.02, count)
    if method.startswith("trades"):
        values *= 2_000
    before = _peak()
    started = time.perf_counter()
    found = simulate(method, values, 10_000.0, simulations, 1)
    seconds = time.perf_counter() - started
    assert len(found.paths.final_balance) == simulations
    print(json.dumps({"seconds": seconds, "before": before, "peak": _peak()}))


def _peak() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB**2  # macOS counts bytes
    # What getrusage says here begins with the memory of the process that started this one.
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / _KIB


if __name__ == "__main__":
    main()
