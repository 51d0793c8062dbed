"""The arenas of a process with many threads, and what is spared the garbage collector."""

import ctypes
import os
import subprocess
import sys

import pytest

CODE = """
import ctypes, os, sys, threading
from jesse_mcp.server.http.heap import give_memory_back
if sys.argv[1] == "yes":
    give_memory_back()
everybody = threading.Barrier(16)
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
def work():
    everybody.wait()
    libc.malloc(1000)
    everybody.wait()
threads = [threading.Thread(target=work) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.fdopen.restype = libc.malloc_info.argtypes = None
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fflush.argtypes = [ctypes.c_void_p]
out = libc.fdopen(1, b"w")
libc.malloc_info(0, out)
libc.fflush(out)
"""

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


def arenas(called: str, **variables: str) -> int:
    known = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", CODE, called],
        capture_output=True,
        text=True,
        check=True,
        env=known | variables,
    )
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="not the C library of GNU")
def test_threads_share_few_arenas() -> None:
    assert arenas("yes") <= 2 < arenas("no")
    assert arenas("yes", MALLOC_ARENA_MAX="5") == 5, "what the operator says holds"


def test_what_is_there_is_spared_and_what_comes_later_collected() -> None:
    # In a process of its own: what is frozen stays so.
    ran = subprocess.run([sys.executable, "-c", FREEZES], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "False", "True"]
