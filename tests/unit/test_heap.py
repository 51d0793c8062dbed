"""What a server that has started spares the garbage collector."""

import subprocess
import sys

FREEZES = """
import gc
from jesse_mcp.server.http.heap import keep_what_is_there

kept = [[] for _ in range(1000)]
keep_what_is_there()
later = []
later.append(later)
print(gc.get_freeze_count() > len(kept), any(each is kept[0] for each in gc.get_objects()))
del later
print(gc.collect() > 0)
"""


def test_what_is_there_is_spared_and_what_comes_later_collected() -> None:
    # In a process of its own: what is frozen stays so.
    ran = subprocess.run([sys.executable, "-c", FREEZES], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "False", "True"]
