"""What a risk report draws, as points; why a chart is missing, in words."""

import numpy as np

from jesse_mcp.analytics.calendar_returns import calendar_returns
from jesse_mcp.analytics.drawdowns import depths_of, unusable
from jesse_mcp.analytics.measures import Floats, dispersion
from jesse_mcp.analytics.return_series import ReturnSeries
from jesse_mcp.analytics.risk_criteria import percentage
from jesse_mcp.analytics.rolling import rolling
from jesse_mcp.analytics.thinning import thinned
from jesse_mcp.ports.reports import HeatCell, HeatTable, Histogram, LineChart, Panel
from jesse_mcp.services.risk_measures import UNKNOWN_TRADES, RiskFacts

_POINTS = 600
_BINS = 60
_MOST_YEARS = 40
#: Of highest over lowest balance, from which on a logarithm shows more.
_LOGARITHMIC = 10.0
#: A larger number, or quotient of two, has no axis.
_LARGEST = 1e100
_TOO_LARGE = "the numbers spread too far for a chart"
#: A month that earned or lost as much has the full colour.
_FULL_HEAT = 0.2
_WINDOWS = (90, 30)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PERIODS = "periods"


def equity_chart(facts: RiskFacts) -> LineChart | str:
    """Balances, and how far each is below the highest so far."""
    series = facts.series
    if facts.sample.reason is not None or unusable(series.balances):
        return facts.sample.reason or unusable(series.balances) or ""
    depths = depths_of(series.balances)
    shown = np.union1d(thinned(series.balances, _POINTS), thinned(depths, _POINTS))
    xs, times = _xs(series, shown)
    balances = series.balances[shown]
    lowest, highest = float(series.balances.min()), float(series.balances.max())
    if highest > _LARGEST or (lowest > 0 and highest / lowest > _LARGEST):
        return _TOO_LARGE
    first, last = float(series.balances[0]), float(series.balances[-1])
    return LineChart(
        name="equity",
        title="Equity and drawdown",
        description=(
            f"The balance went from {first:,.6g} to {last:,.6g}, lowest {lowest:,.6g}, highest "
            f"{highest:,.6g}; the deepest drawdown was {depths.max():.1%}, the last balance is "
            f"{depths[-1]:.1%} below the highest."
        ),
        panels=(
            Panel("Balance", xs, balances, logarithmic=lowest > 0 and highest / lowest > _LOGARITHMIC),
            Panel("Drawdown", xs, -depths[shown], drawn="area", percent=True),
        ),
        times=times,
        x_label=_PERIODS,
    )


def rolling_chart(facts: RiskFacts) -> LineChart | str:
    """Sharpe ratio and volatility of each window, at its end."""
    series = facts.series
    count = len(series.returns)
    window = next((window for window in _WINDOWS if count >= 2 * window), None)
    if window is None:
        said = "1 return is" if count == 1 else f"{count} returns are"
        return facts.sample.reason or f"{said} fewer than two windows of {_WINDOWS[-1]}"
    found = rolling(series.returns, window, series.periods_per_year)
    sharpe = np.array(found.sharpe_ratio, dtype=np.float64)
    volatility = np.array(found.volatility, dtype=np.float64)
    if not np.isfinite(sharpe).any():
        return "the returns do not vary"
    if np.nanmax(np.abs(sharpe)) > _LARGEST or np.nanmax(volatility) > _LARGEST:
        return _TOO_LARGE
    shown = np.union1d(thinned(sharpe, _POINTS), thinned(volatility, _POINTS))
    xs, times = _xs(series, shown + window)
    return LineChart(
        name="rolling",
        title=f"Rolling Sharpe ratio and volatility, {window} periods",
        description=(
            f"The annual Sharpe ratio of {window} successive periods was between {np.nanmin(sharpe):.2f} and "
            f"{np.nanmax(sharpe):.2f}, the annual volatility between "
            f"{percentage(float(np.nanmin(volatility)), 1)} and "
            f"{percentage(float(np.nanmax(volatility)), 1)}."
        ),
        panels=(
            Panel("Sharpe ratio, annual", xs, sharpe[shown]),
            Panel("Volatility, annual", xs, volatility[shown], percent=True),
        ),
        times=times,
        x_label=_PERIODS,
    )


def returns_chart(facts: RiskFacts) -> Histogram | str:
    """How often which return came, with value at risk and expected shortfall."""
    returns = facts.series.returns
    if len(returns) < 2 or dispersion(returns) == 0:
        return facts.sample.reason or "the returns do not vary"
    with np.errstate(all="ignore"):
        low, high = float(returns.min()), float(returns.max())
        if high > _LARGEST or (high - low) / _BINS <= 1e-12 * max(abs(low), abs(high)):
            return "the returns spread too far, or too little, for a chart"
    counts, edges = np.histogram(returns, bins=_BINS, range=(low, high))
    marks = tuple(
        (label, -value)
        for label, name in (("VaR 95 %", "var_95"), ("ES 95 %", "es_95"), ("ES 99 %", "es_99"))
        if (value := facts.returns[name].value) is not None
    )
    said = ", ".join(f"{label} {percentage(-value, 2)}" for label, value in marks)
    plural = "" if len(returns) == 1 else "s"
    return Histogram(
        name="returns",
        title="Returns of a period",
        description=(
            f"{len(returns):,} return{plural} from {percentage(low, 2)} to {percentage(high, 2)}, "
            f"{int((returns == 0).sum()):,} of them zero; losses: {said or 'no quantile could be computed'}."
        ),
        edges=edges.astype(np.float64),
        counts=counts.astype(np.float64),
        marks=marks,
    )


def trades_chart(facts: RiskFacts) -> LineChart | str:
    """Profit of each trade at its end, and all so far."""
    table = facts.table
    if table is None:
        return UNKNOWN_TRADES
    if not len(table):
        return "no trade was closed"
    order = np.argsort(table.closed_at, kind="stable")
    profits = table.profits[order]
    total = np.cumsum(profits)
    if not (np.isfinite(total).all() and max(np.abs(profits).max(), np.abs(total).max()) <= _LARGEST):
        return _TOO_LARGE
    shown = np.union1d(thinned(profits, _POINTS), thinned(total, _POINTS))
    xs = table.closed_at[order][shown].astype(np.float64)
    return LineChart(
        name="trades",
        title="Profit of the trades",
        description=(
            f"{len(profits):,} closed trades, {int((profits > 0).sum()):,} with a profit; the best made "
            f"{profits.max():+,.6g}, the worst {profits.min():+,.6g}, all together {total[-1]:+,.6g}."
        ),
        panels=(
            Panel("Profit of a trade, after fees", xs, profits[shown], drawn="stems"),
            Panel("All so far", xs, total[shown]),
        ),
        times=True,
    )


def months_table(facts: RiskFacts) -> HeatTable | str:
    """Return of each month (UTC), and of the year; the last years of a very long record."""
    series = facts.series
    if facts.sample.reason is not None:
        return facts.sample.reason
    if series.timestamps is None:
        return "the source has no timestamps"
    months = {
        row.label: row.compounded for row in calendar_returns(series.returns, series.timestamps, "month")
    }
    years = calendar_returns(series.returns, series.timestamps, "year")[-_MOST_YEARS:]
    rows = []
    for year in years:
        cells = [
            _heat(f"{year.label}-{month:02d}" in months, months.get(f"{year.label}-{month:02d}"))
            for month in range(1, 13)
        ]
        rows.append((year.label, (*cells, _heat(known=True, value=year.compounded))))
    return HeatTable("Monthly returns, %", ("Year", *_MONTHS, "Year"), tuple(rows))


def _heat(known: bool, value: float | None) -> HeatCell:
    if not known:
        return HeatCell("")
    if value is None:
        return HeatCell("?")
    return HeatCell(f"{value * 100:.1f}", max(-1.0, min(1.0, value / _FULL_HEAT)))


def _xs(series: ReturnSeries, places: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> tuple[Floats, bool]:
    if series.timestamps is None:
        return places.astype(np.float64), False
    return series.timestamps[places].astype(np.float64), True
