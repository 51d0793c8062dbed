"""From what a caller says to a paper session with everything it depends on pinned."""

import math
import re
import secrets
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from jesse_mcp.domain.backtests import (
    DataRoute,
    EngineChoice,
    ExchangeType,
    HyperparameterValue,
    LeverageMode,
    Route,
)
from jesse_mcp.domain.candles import CandleArray, SeriesKey
from jesse_mcp.domain.catalog import JesseCatalog
from jesse_mcp.domain.errors import ErrorCode, ResearchError
from jesse_mcp.domain.exchanges import resolve_exchange
from jesse_mcp.domain.model import Value
from jesse_mcp.domain.paper import FeedName, PaperRequest, minute_order_of
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_date, parse_date, parse_minute
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.ports.strategy_store import StrategyStore
from jesse_mcp.services.backtest_request import BacktestArguments, complete
from jesse_mcp.services.candle_slices import CandleSlicer, warm_up_rows, warm_up_start
from jesse_mcp.services.code_warnings import CodeReader

R = TypeVar("R", Route, DataRoute)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MAX_SPEED = 1_000_000
#: Of days and weeks, which many write like minutes and hours. A month stays 1M: 1m is a minute.
_SPELLINGS = {"1d": "1D", "3d": "3D", "1w": "1W"}
#: An exchange may publish the last minutes late: they are traded instead of missing from the warm-up.
_TAIL_MS = 5 * MINUTE_MS


class PaperArguments(Value):
    """What a caller may say; ``None`` asks for the default.

    ``routes`` come after the one of ``strategy``, ``symbol`` and ``timeframe``, or are all there are.
    """

    strategy: str | None = None
    symbol: str | None = None
    timeframe: str = "1h"
    exchange: str = "Binance"
    starting_balance: float = 10_000
    leverage: int = 1
    session_id: str | None = None
    fee: float | None = 0.001
    routes: tuple[Route, ...] | None = None
    data_routes: tuple[DataRoute, ...] = ()
    exchange_type: ExchangeType | None = None
    leverage_mode: LeverageMode = "cross"
    hyperparameters: dict[str, HyperparameterValue] | None = None
    warm_up_candles: int = 240
    feed: FeedName = "exchange"
    speed: float | None = None
    replay_start: str | None = None
    replay_end: str | None = None
    notes: str | None = None
    watch: tuple[dict[str, Any], ...] = ()
    webhook: str | None = None
    engine: EngineChoice = "configured"


class PaperPlan(Value):
    """A request that holds but for its candles; of a live session the start is not known yet."""

    session_id: str
    request: PaperRequest


@dataclass(frozen=True)
class PinnedPaper:
    """A session as it will be worked through."""

    request: PaperRequest
    source: dict[str, str]
    code_hash: str
    warm_up: tuple[CandleArray, ...]
    warnings: tuple[str, ...]


class PaperPlanner:
    """Blocking; called in a thread."""

    def __init__(self, strategies: StrategyStore, candles: CandleStore, catalog: JesseCatalog) -> None:
        self._strategies = strategies
        self._candles = candles
        self._catalog = catalog
        self._slicer = CandleSlicer(candles, takes_gaps=False)
        self._reader = CodeReader(catalog)

    def plan(self, arguments: PaperArguments, now_ms: int) -> PaperPlan:
        """Check everything that can be checked without candles.

        Args:
            now_ms: epoch milliseconds; a live session starts at this minute or later.

        Raises:
            ResearchError: ``invalid_argument`` naming the argument and what it received,
                ``strategy_not_found``, ``candles_missing`` for a replay without end of what is not stored.
        """
        session_id = _session_id(arguments.session_id)
        _check_feed(arguments)
        start_ms = now_ms // MINUTE_MS * MINUTE_MS
        if arguments.feed == "replay":
            start_ms = _moment(arguments.replay_start or "", "replay_start")
        request = self._completed(arguments, start_ms)
        self._strategies.source(frozenset(route.strategy for route in request.routes))
        if arguments.feed == "replay":
            request = request.model_copy(update={"end_ms": self._end(arguments, request)})
        warm_up_start(request.as_backtest(request.start_ms))
        return PaperPlan(session_id=session_id, request=request)

    def warm_up_range(self, request: PaperRequest) -> tuple[int, int]:
        """The minutes before the start, half-open, epoch milliseconds."""
        return warm_up_start(request.as_backtest(request.start_ms)), request.start_ms

    def lacking(self, request: PaperRequest) -> list[SeriesKey]:
        """Series of whose warm-up something is neither stored nor known not to exist."""
        start, end = self.warm_up_range(request)
        return [key for key in request.series if start < end and self._candles.unanswered(key, start, end)]

    def check_replayed(self, request: PaperRequest) -> None:
        """Whether the minutes a replay trades are stored, whatever its warm-up lacks.

        Raises:
            ResearchError: ``candles_missing`` with the call that fills them.
        """
        if request.end_ms is not None:
            traded = request.model_copy(update={"warm_up_candles": 0})
            self._slicer.cut(traded.as_backtest(request.end_ms))

    def starting(self, request: PaperRequest, end_ms: int) -> PaperRequest:
        """A live request that starts where the stored candles of all its series end.

        Args:
            end_ms: up to where they were asked for.
        """
        ends = [end_ms]
        for key in request.series:
            rows = self._candles.read(key, end_ms - _TAIL_MS, end_ms)
            ends.append(int(rows[-1, 0]) + MINUTE_MS if len(rows) else end_ms)
        return request.model_copy(update={"start_ms": min(ends)})

    def pin(self, request: PaperRequest) -> PinnedPaper:
        """Code and warm-up as they are now.

        Raises:
            ResearchError: ``candles_missing`` with the call that fills them.
        """
        names = frozenset(route.strategy for route in request.routes)
        source = self._strategies.source(names)
        until = request.start_ms if request.end_ms is None else request.end_ms
        if request.warm_up_candles == 0 and until == request.start_ms:
            # Nothing of these series need be stored.
            warm_up, whole = tuple(np.empty((0, 6)) for _ in request.series), True
        else:
            slices = self._slicer.cut(request.as_backtest(until))
            warm_up = tuple(warm_up_rows(part) for part in slices)
            whole = not any(part.missing for part in slices)
        timeframes = [route.timeframe for route in request.routes]
        timeframes += [route.timeframe for route in request.data_routes]
        order = minute_order_of(request.feed, request.start_ms, timeframes, complete=whole)
        return PinnedPaper(
            request=request.model_copy(update={"minute_order": order}),
            source=source.files,
            code_hash=source.code_hash,
            warm_up=warm_up,
            warnings=self._reader.warnings(request.routes, source.files, request.hyperparameters),
        )

    def _completed(self, arguments: PaperArguments, start_ms: int) -> PaperRequest:
        whole = complete(
            BacktestArguments(
                routes=_routes(arguments),
                exchange=self._exchange(arguments),
                start_date=iso_date(start_ms),
                data_routes=tuple(_respelled(route) for route in arguments.data_routes),
                exchange_type=arguments.exchange_type,
                starting_balance=arguments.starting_balance,
                fee=arguments.fee,
                leverage=arguments.leverage,
                leverage_mode=arguments.leverage_mode,
                hyperparameters=arguments.hyperparameters,
                warm_up_candles=arguments.warm_up_candles,
            ),
            self._catalog,
            start_ms,
        )
        shared = PaperRequest.model_fields.keys() & whole.model_dump().keys()
        values = {name: getattr(whole, name) for name in shared}
        values |= {"start_ms": start_ms, "end_ms": None}
        return PaperRequest(**values, feed=arguments.feed, speed=arguments.speed)

    def _exchange(self, arguments: PaperArguments) -> str:
        """A name that fits a spot and a futures exchange means spot, unless something says futures."""
        try:
            return resolve_exchange(arguments.exchange, self._catalog).name
        except ResearchError as error:
            candidates = error.details.get("candidates")
            if not isinstance(candidates, list):
                raise
            implied = "futures" if arguments.leverage > 1 else "spot"
            wanted = arguments.exchange_type or implied
            known = {exchange.name: exchange for exchange in self._catalog.exchanges}
            fitting = [name for name in candidates if known[name].type == wanted]
            if len(fitting) != 1:
                raise
            return str(fitting[0])

    def _end(self, arguments: PaperArguments, request: PaperRequest) -> int:
        if arguments.replay_end is None:
            end_ms = self._slicer.last_full_day(list(request.series))
        else:
            end_ms = _moment(arguments.replay_end, "replay_end")
        if end_ms <= request.start_ms:
            raise _invalid(
                f"the replay is from {arguments.replay_start} to {arguments.replay_end or iso_date(end_ms)}",
                "replay_end is exclusive, by default the last full day of the stored candles: "
                "candles_available shows what is stored",
            )
        return end_ms


def _routes(arguments: PaperArguments) -> tuple[Route, ...]:
    others = tuple(_respelled(route) for route in arguments.routes or ())
    missing = [name for name in ("strategy", "symbol") if getattr(arguments, name) is None]
    if not missing:
        first = Route(
            strategy=arguments.strategy or "",
            symbol=arguments.symbol or "",
            timeframe=_spelled(arguments.timeframe),
        )
        return (first, *others)
    if len(missing) == 1 or not others:
        raise _invalid(f"{' and '.join(missing)} not given", "give strategy and symbol, or routes alone")
    default = PaperArguments.model_fields["timeframe"].default
    if arguments.timeframe != default:
        raise _invalid(
            f"timeframe is {arguments.timeframe!r} without strategy and symbol", "each route has its own"
        )
    return others


def _session_id(given: str | None) -> str:
    if given is None:
        return f"paper_{secrets.token_hex(6)}"
    if not _ID.fullmatch(given):
        raise _invalid(
            f"session_id is {given!r}", "use letters, digits, '_', '-' and '.', 64 at most, or leave it out"
        )
    return given


def _check_feed(arguments: PaperArguments) -> None:
    only = {"speed": arguments.speed, "replay_start": arguments.replay_start}
    only["replay_end"] = arguments.replay_end
    if arguments.feed == "exchange":
        for name, value in only.items():
            if value is not None:
                raise _invalid(
                    f"{name} is {value!r} with feed='exchange', which is traded as it happens",
                    f"leave out {name}, or use feed='replay'",
                )
        return
    if arguments.replay_start is None:
        raise _invalid(
            "replay_start was not given",
            "give the first day to replay; candles_available shows those stored",
        )
    speed = arguments.speed
    if speed is not None and not (math.isfinite(speed) and 0 < speed <= _MAX_SPEED):
        raise _invalid(
            f"speed is {speed}", "give simulated minutes a minute, or leave it out for as fast as it goes"
        )


def _moment(text: str, argument: str) -> int:
    """A UTC day, or a minute of one."""
    if "T" in text:
        try:
            return parse_minute(text)
        except ValueError:
            raise _invalid(f"{argument} is {text!r}", "give YYYY-MM-DD or YYYY-MM-DDTHH:MMZ (UTC)") from None
    return parse_date(text, argument)


def _spelled(timeframe: str) -> str:
    return _SPELLINGS.get(timeframe, timeframe)


def _respelled(route: R) -> R:
    return route.model_copy(update={"timeframe": _spelled(route.timeframe)})


def _invalid(message: str, hint: str) -> ResearchError:
    return ResearchError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)
