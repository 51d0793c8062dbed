"""What is stressed: returns, the markets they hang on, and how."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from jesse_mcp.analytics.shocks import Effect, Regression, effect, regress
from jesse_mcp.domain.backtests import BacktestRequest
from jesse_mcp.domain.candles import SeriesKey
from jesse_mcp.services.analysis_source import Sample
from jesse_mcp.services.stress_market import StressMarket

NO_MARKET = "the source names no market: give run_id, session_id or market"


@dataclass
class Subject:
    """A sample with the exchange and the symbols it trades; both are missing for numbers of the call."""

    sample: Sample
    market: StressMarket
    exchange: str | None
    symbols: tuple[str, ...]

    @property
    def keys(self) -> tuple[SeriesKey, ...]:
        return tuple(SeriesKey(exchange=self.exchange or "", symbol=symbol) for symbol in self.symbols)

    @property
    def request(self) -> BacktestRequest | None:
        """Of a run or a paper session."""
        return self.sample.request

    @cached_property
    def betas(self) -> Regression | str:
        """Of a run's returns to the symbols it trades; of anything else the reason why there are none."""
        if self.sample.request is None or self.exchange is None:
            return NO_MARKET
        if self.sample.reason is not None:
            return self.sample.reason
        return self.market.betas(self.sample.series, self.exchange, self.symbols)

    @property
    def exposures(self) -> dict[str, float] | None:
        """Weights of a portfolio, betas of a run, by symbol; ``None`` where neither is known."""
        components, betas = self.sample.components, self.betas
        if components is not None:
            return dict(zip(components.symbols, components.weights.tolist(), strict=True))
        if isinstance(betas, str):
            return None
        return dict(zip(self.symbols, betas.coefficients.tolist(), strict=True))

    def shocked(self, shocks: dict[str, float]) -> Effect | str:
        """What returns of markets make of the equity, as a fraction of it, or why that cannot be said.

        A portfolio's own symbols move by their shock, the others by their betas to those that are shocked; a
        run moves by its betas.
        """
        if self.exchange is None:
            return NO_MARKET
        symbols, moves = tuple(shocks), np.array(list(shocks.values()), dtype=np.float64)
        if self.sample.components is not None:
            return self._portfolio(symbols, moves)
        if self.sample.reason is not None:
            return self.sample.reason
        same = symbols == self.symbols
        found = self.betas if same else self.market.betas(self.sample.series, self.exchange, symbols)
        return found if isinstance(found, str) else effect(found, moves)

    def _portfolio(self, symbols: tuple[str, ...], moves: NDArray[np.float64]) -> Effect | str:
        components = self.sample.components
        if components is None or self.exchange is None:
            return NO_MARKET
        held = dict(zip(components.symbols, components.weights.tolist(), strict=True))
        own = sum(held.get(symbol, 0.0) * move for symbol, move in zip(symbols, moves.tolist(), strict=True))
        others = [n for n, symbol in enumerate(components.symbols) if symbol not in symbols]
        if not others:
            return Effect(float(own), 0.0)
        series = self.sample.series
        if series.timestamps is None:
            return self.sample.reason or "the returns of the portfolio have no times"
        factors = self.market.returns_of(series.timestamps, self.exchange, symbols)
        if isinstance(factors, str):
            return factors
        rest = components.returns[: len(series.returns), others] @ components.weights[others]
        known = np.isfinite(factors).all(axis=1)
        found = regress(rest[known], factors[known])
        if isinstance(found, str):
            return found
        led = effect(found, moves)
        return Effect(float(own) + led.value, led.standard_error, found)
