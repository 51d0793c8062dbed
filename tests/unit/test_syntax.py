"""Source is read in threads."""

import ast
import gc
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from jesse_mcp.domain.syntax import parsed

SOURCE = "\n".join(f"def f{number}(a, b=[1, 2]): return {{a: [b, a + {number}]}}" for number in range(60))


@pytest.fixture
def _switching() -> Iterator[None]:
    """Threads take turns in the midst of making a tree, where collecting garbage runs Python."""

    def pause(*_: object) -> None:
        time.sleep(0.0001)

    gc.callbacks.append(pause)
    try:
        yield
    finally:
        gc.callbacks.remove(pause)


def from_below(calls: int) -> ast.Module:
    """The tree, asked for with so many calls underway."""
    return from_below(calls - 1) if calls else parsed(SOURCE)


@pytest.mark.usefixtures("_switching")
def test_threads_do_not_disturb_each_other() -> None:
    expected = ast.dump(parsed(SOURCE))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(from_below, [0, 10, 20, 30] * 15))
    assert {ast.dump(tree) for tree in found} == {expected}


def test_a_byte_order_mark_is_no_code() -> None:
    assert ast.dump(parsed("\ufeffx = 1")) == ast.dump(ast.parse("x = 1"))
