"""Which backtests a batch consists of."""

import itertools
from collections.abc import Mapping
from math import prod
from typing import Any

from pydantic import FiniteFloat, ValidationError

from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.services.backtest_request import BacktestArguments

MAX_CELLS = 1000
#: Arguments of a backtest by name.
Overrides = dict[str, Any]


class Period(Value):
    start_date: str
    end_date: str | None = None


class Vary(Value):
    """Lists whose product is run; one left out stays as in the base."""

    strategies: tuple[str, ...] | None = None
    symbols: tuple[str, ...] | None = None
    timeframes: tuple[str, ...] | None = None
    periods: tuple[Period, ...] | None = None
    hyperparameters: tuple[dict[str, bool | int | FiniteFloat | str], ...] | None = None


def cells_of(vary: Vary | None, cells: tuple[Overrides, ...] | None) -> tuple[Overrides, ...]:
    """What each cell changes of the base, in the order of the table: the last list varies fastest.

    Raises:
        ResearchError: ``invalid_argument`` for neither or both, an empty list, or too many cells.
    """
    if (vary is None) == (cells is None):
        given = "neither vary nor cells was" if vary is None else "both vary and cells were"
        raise _invalid(f"{given} given", "give lists to combine in vary, or every cell in cells")
    if cells is not None:
        _check_count(len(cells), f"cells holds {len(cells)}")
        return cells
    lists = _lists(vary or Vary())
    for name, choices in lists.items():
        if not choices:
            raise _invalid(f"vary: {name} is empty", f"leave {name} out, or give at least one")
    if not lists:
        raise _invalid("vary names nothing to vary", f"it takes {', '.join(Vary.model_fields)}")
    sizes = " x ".join(f"{len(choices)} {name}" for name, choices in lists.items())
    count = prod(len(choices) for choices in lists.values())
    _check_count(count, f"{sizes} makes {count}")
    return tuple(
        {name: value for part in combination for name, value in part.items()}
        for combination in itertools.product(*lists.values())
    )


def arguments_of(base: Mapping[str, Any], cell: Mapping[str, Any], number: int) -> BacktestArguments:
    """A cell as arguments of a backtest.

    Raises:
        ResearchError: ``invalid_argument`` naming the cell and the argument.
    """
    try:
        return BacktestArguments.model_validate({**base, **cell})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise _invalid(
            f"cell {number}: {name}: {problem['msg']}; received {str(problem['input'])[:200]!r}",
            f"a cell takes the arguments of backtest: {', '.join(BacktestArguments.model_fields)}",
        ) from None


def _lists(vary: Vary) -> dict[str, list[Overrides]]:
    named: dict[str, tuple[str, tuple[Any, ...] | None]] = {
        "strategies": ("strategy", vary.strategies),
        "symbols": ("symbol", vary.symbols),
        "timeframes": ("timeframe", vary.timeframes),
    }
    lists = {
        name: [{argument: value} for value in values]
        for name, (argument, values) in named.items()
        if values is not None
    }
    if vary.periods is not None:
        lists["periods"] = [period.model_dump() for period in vary.periods]
    if vary.hyperparameters is not None:
        lists["hyperparameters"] = [{"hyperparameters": values} for values in vary.hyperparameters]
    return lists


def _check_count(count: int, said: str) -> None:
    if not 1 <= count <= MAX_CELLS:
        raise _invalid(f"{said} cells", f"a batch takes 1 to {MAX_CELLS}")


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
