"""Python source as a syntax tree."""

import ast
import threading

# CPython counts how deep it is in a tree for all threads together: where two make one at a time, either may
# end with "AST constructor recursion depth mismatch". Reentrant, as collecting garbage may run anything.
_ONE_AT_A_TIME = threading.RLock()


def parsed(code: str) -> ast.Module:
    """The tree of ``code``, with or without a byte order mark. Safe in threads.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as :func:`ast.parse`.
    """
    with _ONE_AT_A_TIME:
        return ast.parse(code.removeprefix("\ufeff"))
