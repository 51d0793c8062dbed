"""What may be asked of a stress test."""

import math
from typing import Any, Literal

import numpy as np

from jesse_mcp.analytics.correlation_stress import problem_of
from jesse_mcp.analytics.crises import CRISES, Crisis
from jesse_mcp.domain.candles import parse_symbol
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.model import Value
from jesse_mcp.services.analysis_source import SourceArguments

Rerun = Literal["crises", "fees", "slippage"]

DEFAULT_FEE_MULTIPLIERS = (2.0, 3.0)
DEFAULT_SLIPPAGE_BPS = (5.0, 10.0)
#: Of every market at once, when no shocks are given: in both directions, since what is short fears rises.
DEFAULT_SHOCKS = (-0.5, -0.3, -0.1, 0.1, 0.3, 0.5)
#: By how much every market moves against what is held in it, where long and short are held together.
ADVERSE_SHOCK = 0.5
ADVERSE = "every position moves against it"
#: Of every market at once, beside crises that are falls and leave a gain.
RISE = 0.3
MAX_LEVERAGE = 1_000
_MOST_SYMBOLS = 20
_MOST_RERUNS = 10


class StressArguments(Value):
    """What a caller may say; ``None`` asks for the default."""

    source: SourceArguments
    scenarios: tuple[str, ...] | None = None
    shocks: dict[str, float] | None = None
    volatility_multiplier: float = 2.0
    correlation: float | tuple[tuple[float, ...], ...] = 1.0
    leverage: float | None = None
    rerun: tuple[Rerun, ...] = ()
    fee_multipliers: tuple[float, ...] | None = None
    slippage_bps: tuple[float, ...] | None = None

    @property
    def crises(self) -> tuple[Crisis, ...]:
        """Those asked for, oldest first."""
        return tuple(c for c in CRISES if self.scenarios is None or c.name in self.scenarios)

    @property
    def shocks_by_symbol(self) -> dict[str, float] | None:
        """With the symbols as Jesse writes them."""
        return None if self.shocks is None else {parse_symbol(s): v for s, v in self.shocks.items()}

    def to_request(self) -> dict[str, Any]:
        """As JSON for the job; of returns and balances only how many there are."""
        numbers = {"returns": self.source.returns, "balances": self.source.balances}
        said = self.model_dump(mode="json", exclude_none=True, exclude={"source": set(numbers)})
        counts = {name: f"{len(given)} values" for name, given in numbers.items() if given is not None}
        return {**said, "source": {**said["source"], **counts}}


def check(arguments: StressArguments) -> None:
    """Everything that can be checked without the source.

    Raises:
        ResearchError: ``invalid_argument`` naming the argument and what it received.
    """
    source = arguments.source
    inline = source.run_id is None and source.market is None and source.session_id is None
    checks = [
        *_of_numbers(arguments),
        (
            not (inline and arguments.shocks is not None),
            "shocks are given for a source that names no market",
            "give run_id, session_id or market: only there a price has something to do with the returns",
        ),
        (
            arguments.source.run_id is not None or not arguments.rerun,
            f"rerun is {list(arguments.rerun)} without a run",
            "give run_id: only a run can be made again",
        ),
        (
            arguments.fee_multipliers is None or "fees" in arguments.rerun,
            "fee_multipliers are given and rerun has no 'fees'",
            "add 'fees' to rerun, or leave them out",
        ),
        (
            arguments.slippage_bps is None or "slippage" in arguments.rerun,
            "slippage_bps are given and rerun has no 'slippage'",
            "add 'slippage' to rerun, or leave them out",
        ),
    ]
    for passed, message, hint in checks:
        if not passed:
            raise _invalid(message, hint)
    _check_names(arguments)
    _check_correlation(arguments)


def _of_numbers(arguments: StressArguments) -> list[tuple[bool, str, str]]:
    multipliers, slippages = arguments.fee_multipliers or (), arguments.slippage_bps or ()
    return [
        (
            0 <= arguments.volatility_multiplier <= 100,
            f"volatility_multiplier is {arguments.volatility_multiplier}",
            "give 0 to 100: 2 is twice the volatility",
        ),
        (
            arguments.leverage is None or 0 < arguments.leverage <= MAX_LEVERAGE,
            f"leverage is {arguments.leverage}",
            f"give a number above 0, at most {MAX_LEVERAGE:,}",
        ),
        (
            all(0 < m <= 100 for m in multipliers) and len(multipliers) <= _MOST_RERUNS,
            f"fee_multipliers is {list(multipliers)}",
            f"give 1 to {_MOST_RERUNS} numbers above 0, at most 100: 2 is twice the fee",
        ),
        (
            all(0 < bps <= 500 for bps in slippages) and len(slippages) <= _MOST_RERUNS,
            f"slippage_bps is {list(slippages)}",
            f"give 1 to {_MOST_RERUNS} numbers above 0, at most 500, in hundredths of a percent a side",
        ),
        (
            () not in (arguments.fee_multipliers, arguments.slippage_bps),
            "fee_multipliers or slippage_bps is empty",
            "leave it out for the default",
        ),
    ]


def _check_names(arguments: StressArguments) -> None:
    known = [crisis.name for crisis in CRISES]
    unknown = [name for name in arguments.scenarios or () if name not in known]
    if unknown:
        raise _invalid(f"scenarios has {', '.join(unknown)}", f"the crises are {', '.join(known)}")
    shocks = arguments.shocks
    if shocks is None:
        return
    if not 1 <= len(shocks) <= _MOST_SYMBOLS:
        raise _invalid(f"shocks has {len(shocks)} symbols", f"give 1 to {_MOST_SYMBOLS}")
    if len(arguments.shocks_by_symbol or {}) != len(shocks):
        raise _invalid(f"shocks is {shocks}", "name each symbol once")
    for symbol, shock in shocks.items():
        if not (math.isfinite(shock) and -1 <= shock <= 10):
            raise _invalid(
                f"shocks[{symbol!r}] is {shock}", "give fractions from -1 to 10: -0.3 is a fall of 30 %"
            )


def _check_correlation(arguments: StressArguments) -> None:
    wanted = arguments.correlation
    if isinstance(wanted, float | int):
        if not 0 <= wanted <= 1:
            raise _invalid(
                f"correlation is {wanted}",
                "give the share of the way to moving all together, 0 to 1, or a whole matrix",
            )
        return
    if arguments.source.market is None:
        raise _invalid("correlation is a matrix for a source of one series", "give market with symbols")
    size = len(arguments.source.market.symbols)
    if len(wanted) != size or any(len(row) != size for row in wanted):
        raise _invalid(
            f"correlation has {len(wanted)} rows for {size} symbols", "give a square matrix in their order"
        )
    problem = problem_of(np.array(wanted, dtype=np.float64))
    if problem is not None:
        raise _invalid(
            f"correlation cannot be used: {problem}",
            "give a symmetric matrix of numbers from -1 to 1, with 1 on the diagonal",
        )


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
