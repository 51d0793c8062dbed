"""The backtest of a pair with everything it depends on pinned: request, prices, code."""

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics import (
    cointegration,
    hedge_ratio,
    jesse_metrics,
    mean_reversion,
    pairs_daily,
    pairs_signals,
    pairs_simulation,
)
from jesse_mcp.analytics.bars import Bars, bars
from jesse_mcp.analytics.pairs_simulation import Terms
from jesse_mcp.domain.backtests import BacktestRequest, CandleSlice, Route
from jesse_mcp.domain.candles import SeriesKey, parse_symbol
from jesse_mcp.domain.catalog import JesseCatalog
from jesse_mcp.domain.exchanges import resolve_exchange
from jesse_mcp.domain.timeframes import MINUTE_MS, iso_minute, parse_date, timeframe_minutes
from jesse_mcp.ports.candle_store import CandleStore
from jesse_mcp.services.backtest_request import BacktestArguments, complete
from jesse_mcp.services.candle_slices import CandleSlicer, warm_up_start
from jesse_mcp.services.pairs_request import (
    FEWEST_FORMATION_BARS,
    MAX_BARS,
    MAX_CELLS,
    PairsArguments,
    check,
    invalid,
)
from jesse_mcp.services.price_panel import aligned_panel, panel_arguments

_COLUMNS = 6
_METHOD = (
    cointegration,
    hedge_ratio,
    jesse_metrics,
    mean_reversion,
    pairs_daily,
    pairs_signals,
    pairs_simulation,
)
#: Which of these functions is given what; they import this module.
_SERVICES = ("pairs_experiment.py", "pairs_record.py")
_LIBRARIES = ("numpy", "statsmodels")


@dataclass(frozen=True)
class PairPrices:
    """Bars that both symbols have; columns are y and x.

    Attributes:
        opens, closes: shape (n, 2).
        begins, ends: of each bar, epoch milliseconds, shape (n,); the same where prices are single points.
        formation: bars before the first one traded.
        remarks: what was left out, in words.
    """

    opens: NDArray[np.float64]
    closes: NDArray[np.float64]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    formation: int
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairsPlan:
    """What will be computed, and what identifies its answer.

    ``request`` and ``slices`` are of stored candles; there are none for prices of the call.
    """

    arguments: PairsArguments
    prices: PairPrices
    terms: Terms
    family: str
    request: BacktestRequest | None
    slices: tuple[CandleSlice, ...]
    candle_hashes: dict[str, str]
    code_hash: str
    fingerprint: str

    @property
    def start_ms(self) -> int:
        return int(self.prices.begins[self.prices.formation])

    @property
    def end_ms(self) -> int:
        return int(self.prices.ends[-1]) if self.request is None else self.request.end_ms


#: The argument that says how many bars there are before the first one traded.
WARM_UP = "formation_bars"


class PairsPlanner:
    """Blocking; called in a thread."""

    def __init__(self, candles: CandleStore, catalog: JesseCatalog) -> None:
        self._catalog = catalog
        self._slicer = CandleSlicer(candles, warm_up=WARM_UP)

    def plan(self, arguments: PairsArguments) -> PairsPlan:
        """Check everything that can be checked without computing.

        Raises:
            ResearchError: ``invalid_argument``, ``candles_missing``.
        """
        check(arguments)
        if arguments.prices is not None:
            return _of_prices(arguments)
        known = arguments.model_copy(
            update={
                "symbol_y": parse_symbol(arguments.symbol_y),
                "symbol_x": parse_symbol(arguments.symbol_x),
            }
        )
        if known.symbol_y == known.symbol_x:
            raise invalid(f"symbol_y and symbol_x are both {known.symbol_y}", "a pair has two symbols")
        request = self._request(known)
        _check_size(known, (request.end_ms - warm_up_start(request, WARM_UP)) // _step(request))
        slices = self._slicer.cut(request, known.gaps)
        missing = sum(part.missing for part in slices)
        if missing:
            request = request.model_copy(update={"gaps": "observed"})
            if known.jesse:
                raise invalid(
                    f"jesse is true, and {missing:,} minutes have no candle",
                    "Jesse counts candles, so its bars would be other ones: import the minutes, or leave "
                    "jesse out",
                )
        hashes = {f"{part.symbol} on {part.exchange}": part.content_hash for part in slices}
        prices = _stored_prices(request, slices, known)
        return _planned(known, prices, request.fee, request, slices, hashes)

    def slices(self, request: BacktestRequest) -> tuple[CandleSlice, ...]:
        """Complete candles for a request.

        Raises:
            ResearchError: ``candles_missing``.
        """
        return self._slicer.cut(request, "refuse")

    def _request(self, arguments: PairsArguments) -> BacktestRequest:
        exchange = resolve_exchange(arguments.exchange or "", self._catalog)
        if exchange.type != "futures":
            raise invalid(
                f"{exchange.name} is traded as {exchange.type}",
                "one leg of a pair is sold short, which needs futures: name a futures exchange, e.g. "
                "'Binance Perpetual Futures'",
            )
        symbols = (arguments.symbol_y, arguments.symbol_x)
        end = arguments.end_date
        family = family_name(*symbols)
        request = complete(
            BacktestArguments(
                exchange=exchange.name,
                exchange_type="futures",
                start_date=arguments.start_date or "",
                end_date=end,
                routes=tuple(Route(strategy=family, symbol=s, timeframe=arguments.bar) for s in symbols),
                starting_balance=arguments.starting_balance,
                fee=arguments.fee,
                leverage=arguments.leverage,
                hyperparameters=arguments.parameters(),
                warm_up_candles=arguments.formation_bars,
            ),
            self._catalog,
            0,
        )
        # Everything else is refused before a store is asked.
        request = request.model_copy(update={"end_ms": self._end(end, exchange.name, symbols)})
        if request.end_ms <= request.start_ms:
            raise invalid(
                f"the period is {arguments.start_date} to {iso_minute(request.end_ms)}, which holds no bar",
                "end_date is exclusive: give one at least a day after start_date",
            )
        return request

    def _end(self, end: str | None, exchange: str, symbols: tuple[str, str]) -> int:
        if end is not None:
            return parse_date(end, "end_date")
        return self._slicer.last_full_day([SeriesKey(exchange=exchange, symbol=s) for s in symbols])


def family_name(first: str, second: str) -> str:
    """Under which all experiments with a pair are counted, whichever symbol is called y."""
    names = ("".join(c for c in name if c.isascii() and c.isalnum()) for name in sorted((first, second)))
    name = "Pair_" + "_".join(names)
    if len(name) <= 64:
        return name
    return name[:51] + "_" + hashlib.sha256(f"{sorted((first, second))}".encode()).hexdigest()[:12]


def method_hash() -> str:
    """Hex SHA-256 of the code the numbers come from."""
    digest = hashlib.sha256()
    here = [Path(__file__).with_name(name) for name in _SERVICES]
    for path in [*(Path(str(module.__file__)) for module in _METHOD), *here]:
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def method_versions() -> dict[str, str]:
    """What computed a run, as a run says of its engine."""
    return {
        "method": f"pairs of jesse-mcp, code {method_hash()[:12]}; no Jesse",
        **{name: version(name) for name in _LIBRARIES},
    }


def _of_prices(arguments: PairsArguments) -> PairsPlan:
    # Checks times and prices, and says what is wrong with them.
    checked = panel_arguments(None, arguments.prices, None).prices or {}
    series = {
        name: (
            np.array([time for time, _ in checked[name]], dtype=np.int64),
            np.array([price for _, price in checked[name]], dtype=np.float64),
        )
        for name in (arguments.symbol_y, arguments.symbol_x)
    }
    panel = aligned_panel("prices", series)
    left_out = [
        f"{count.left_out} prices of {name} were left out: the other has none at that time"
        for name, count in zip(panel.names, panel.counts, strict=True)
        if count.left_out
    ]
    remarks = tuple(left_out)
    if panel.gaps:
        remarks += (f"{panel.gaps} steps between prices are longer than the usual one",)
    _check_size(arguments, len(panel.timestamps))
    if len(panel.timestamps) < arguments.formation_bars + 2:
        raise invalid(
            f"prices has {len(panel.timestamps)} common times, formation_bars is {arguments.formation_bars}",
            "give prices behind the formation too, or fewer formation_bars",
        )
    prices = PairPrices(
        panel.prices, panel.prices, panel.timestamps, panel.timestamps, arguments.formation_bars, remarks
    )
    hashes = {
        name: hashlib.sha256(times.tobytes() + values.tobytes()).hexdigest()
        for name, (times, values) in series.items()
    }
    return _planned(arguments, prices, arguments.fee or 0.0, None, (), hashes)


def _planned(
    arguments: PairsArguments,
    prices: PairPrices,
    fee: float,
    request: BacktestRequest | None,
    slices: tuple[CandleSlice, ...],
    hashes: dict[str, str],
) -> PairsPlan:
    code, terms = method_hash(), _terms(arguments, fee)
    identity = {
        "pair": arguments.parameters() | {"balance": terms.starting_balance, "leverage": terms.leverage},
        "fee": fee,
        "request": None if request is None else request.model_dump(mode="json"),
        "code": code,
        "libraries": {name: version(name) for name in _LIBRARIES},
        "prices": hashes,
    }
    return PairsPlan(
        arguments=arguments,
        prices=prices,
        terms=terms,
        family=family_name(arguments.symbol_y, arguments.symbol_x),
        request=request,
        slices=slices,
        candle_hashes=hashes,
        code_hash=code,
        fingerprint=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
    )


def _terms(arguments: PairsArguments, fee: float) -> Terms:
    return Terms(
        starting_balance=arguments.starting_balance,
        fee=fee,
        slippage=arguments.slippage,
        notional=arguments.gross,
        leverage=float(arguments.leverage),
    )


def _stored_prices(
    request: BacktestRequest, slices: tuple[CandleSlice, ...], arguments: PairsArguments
) -> PairPrices:
    minutes, begin = _step(request) // MINUTE_MS, warm_up_start(request)
    found: dict[str, Bars] = {part.symbol: bars(_rows(part), minutes, begin) for part in slices}
    y, x = found[arguments.symbol_y], found[arguments.symbol_x]
    common = np.intersect1d(y.timestamps, x.timestamps, assume_unique=True)
    expected = (request.end_ms - begin) // _step(request)
    remarks = () if len(common) == expected else (_incomplete(len(common), expected),)
    formation = int(np.searchsorted(common, request.start_ms))
    if formation < max(FEWEST_FORMATION_BARS, arguments.lookback, arguments.window):
        raise invalid(
            f"{formation} bars before the start have candles of both symbols",
            "start later, or fill the candles of the formation",
        )
    if len(common) - formation < 2:
        raise invalid("fewer than two bars have candles of both symbols", "give a longer period")
    places = (np.searchsorted(y.timestamps, common), np.searchsorted(x.timestamps, common))
    return PairPrices(
        opens=np.column_stack((y.open[places[0]], x.open[places[1]])),
        closes=np.column_stack((y.close[places[0]], x.close[places[1]])),
        begins=common,
        ends=common + _step(request),
        formation=formation,
        remarks=remarks,
    )


def _incomplete(common: int, expected: int) -> str:
    return (
        f"{expected - common} of {expected} bars lack candles of a symbol and were left out: what is decided "
        "before one is filled behind it"
    )


def _rows(part: CandleSlice) -> NDArray[np.float64]:
    whole = np.memmap(part.path, dtype="<f8", mode="r", shape=(part.total_rows, _COLUMNS))
    return whole[part.start_row : part.end_row]


def _step(request: BacktestRequest) -> int:
    """Milliseconds of a bar."""
    return timeframe_minutes(request.routes[0].timeframe) * MINUTE_MS


def _check_size(arguments: PairsArguments, count: int) -> None:
    widest = max(arguments.lookback, arguments.window if arguments.hedge_ratio == "rolling_ols" else 0)
    if count > MAX_BARS or count * widest > MAX_CELLS:
        raise invalid(
            f"{count:,} bars with a lookback of {widest:,} are asked for",
            f"give {MAX_BARS:,} bars at most, and {MAX_CELLS:,} bars times lookback: a longer timeframe, a "
            "shorter period or a shorter lookback",
        )
